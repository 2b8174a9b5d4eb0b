package schema

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Setting is one that differs between two configs. A side where it is not there, as
// for a static peer that only one has, is "".
type Setting struct {
	// Path is dotted; static peers are told apart by their names.
	Path     string
	From, To string
}

// What stands for a secret that differs from another.
const anotherSecret = `"(hidden, another)"`

// Compare lists the settings in which two configs differ, in the order of their paths.
// Secrets in them are hidden; that they differ shows.
func Compare(from, to *Config) ([]Setting, error) {
	before, err := flat(from)
	if err != nil {
		return nil, err
	}
	after, err := flat(to)
	if err != nil {
		return nil, err
	}
	paths := map[string]any{}
	for path := range before {
		paths[path] = nil
	}
	for path := range after {
		paths[path] = nil
	}
	was, is := from.secrets(), to.secrets()
	var differing []Setting
	for _, path := range sortedKeys(paths) {
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

// secrets are those of the config by their paths.
func (c *Config) secrets() map[string]Secret {
	all := map[string]Secret{pathSecret: c.Cluster.Secret}
	for _, p := range c.Cluster.Discovery.Registries.Static.Peers {
		all[fmt.Sprintf("%s[%s].presharedKey", pathPeers, p.Name)] = p.PresharedKey
	}
	return all
}

// flat are all settings of a config by their paths, as JSON.
func flat(c *Config) (map[string]string, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	value, err := decode(text)
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	return all, flatten(all, "", value)
}

func flatten(all map[string]string, path string, value any) error {
	switch value := value.(type) {
	case map[string]any:
		for _, name := range sortedKeys(value) {
			if err := flatten(all, join(path, name), value[name]); err != nil {
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

func flattenList(all map[string]string, path string, list []any) error {
	items := make([]string, len(list))
	for i, item := range list {
		if path == pathPeers {
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
	if path != pathPeers {
		all[path] = "[" + strings.Join(items, ", ") + "]"
	}
	return nil
}
