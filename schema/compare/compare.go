// Package compare lists the settings in which two machine configs differ.
package compare

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/internal/field"
	"github.com/spanmesh/span/schema/load"
)

// Setting is a setting that differs between two configs.
type Setting struct {
	// Path is dotted. A static peer has its name in place of an index.
	Path string
	// From is the old value as JSON. It is empty if the old config does not have the setting.
	From string
	// To is the new value as JSON. It is empty if the new config does not have the setting.
	To string
}

// anotherSecret is the new value of a secret that differs from the old one.
const anotherSecret = `"(hidden, another)"`

// Configs returns the settings in which two configs differ, in the order of their paths. The
// texts of secrets are hidden, but it shows that they differ.
func Configs(from, to *schema.Config) ([]Setting, error) {
	before, err := flat(from)
	if err != nil {
		return nil, err
	}
	after, err := flat(to)
	if err != nil {
		return nil, err
	}
	was, err := flat(from.Revealed())
	if err != nil {
		return nil, err
	}
	is, err := flat(to.Revealed())
	if err != nil {
		return nil, err
	}
	paths := maps.Clone(before)
	maps.Copy(paths, after)
	var differing []Setting
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		s := Setting{Path: path, From: before[path], To: after[path]}
		if s.From == s.To && was[path] != is[path] {
			s.To = anotherSecret
		}
		if s.From != s.To {
			differing = append(differing, s)
		}
	}
	return differing, nil
}

// flat returns all settings of a config as JSON, by their paths.
func flat(c any) (map[string]string, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	value, err := load.DecodeJSON(text)
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	return all, flatten(all, "", value)
}

func flatten(all map[string]string, path string, value any) error {
	switch value := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			if err := flatten(all, field.Join(path, name), value[name]); err != nil {
				return err
			}
		}
		return nil
	case []any:
		return flattenList(all, path, value)
	case nil:
		all[path] = "[]"
		return nil
	case string:
		if value == "" {
			return nil
		}
	}
	text, err := json.Marshal(value)
	all[path] = string(text)
	return err
}

// peers is the list whose elements have names.
const peers = "cluster.discovery.registries.static.peers"

func flattenList(all map[string]string, path string, list []any) error {
	items := make([]string, len(list))
	for i, item := range list {
		if path == peers {
			one, _ := item.(map[string]any)
			if err := flatten(all, fmt.Sprintf("%s[%v]", path, one["name"]), item); err != nil {
				return err
			}
			continue
		}
		text, err := json.Marshal(item)
		if err != nil {
			return err
		}
		items[i] = string(text)
	}
	if path != peers {
		all[path] = "[" + strings.Join(items, ", ") + "]"
	}
	return nil
}
