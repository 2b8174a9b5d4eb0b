package chaos

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/internal/trouble"
)

// settings are edits of the kubespan section with which a mesh works.
var settings = []string{"mtu: 1380", "mtu: 1300", "listenPort: 51822", "fwmark: 0x200", "routingTable: 190", "rulePriority: 32400",
	otherName, "relay: offer: true", "relay: use: false", "harvestExtraEndpoints: true"}

// configActions edit, break and take away the config.
var configActions = map[string]action{
	"edit-config": {weight: 4, do: func(w *world, n *node, argument int) {
		w.edit(n, settings[argument%len(settings)])
	}},
	"break-config": {weight: 2, do: func(w *world, n *node, argument int) {
		broken := append(trouble.BrokenConfigs(n.config), n.config[:len(n.config)/2])
		w.configure(n, broken[argument%len(broken)])
	}},
	"remove-config": {weight: 2, do: func(w *world, n *node, _ int) {
		w.restoreConfig(n)
		if err := os.Remove(n.Config()); err != nil && !errors.Is(err, os.ErrNotExist) {
			w.fault(err)
		}
	}},
	"second-config": {weight: 1, do: func(w *world, n *node, _ int) {
		path := filepath.Join(filepath.Dir(n.Config()), "machine.yaml")
		w.fault(os.WriteFile(path, []byte(w.mesh.YAML()), 0o600))
		w.onHeal(around, "second config of "+n.Name, func() { w.fault(os.Remove(path)) })
	}},
	"disable-mesh":  {weight: 1, exposes: true, restarts: true, do: func(w *world, n *node, _ int) { w.configure(n, harness.Disabled(n.config)) }},
	"other-secret":  {weight: 1, exposes: true, restarts: true, do: func(w *world, n *node, _ int) { w.configure(n, trouble.WithOtherSecret(n.config)) }},
	"other-cluster": {weight: 1, exposes: true, restarts: true, do: func(w *world, n *node, _ int) { w.configure(n, trouble.WithOtherID(n.config)) }},
	"rotate-key":    {weight: 2, do: func(w *world, n *node, _ int) { w.spanctl(n, "rotate-key") }},
	"down": {weight: 1, exposes: true, restarts: true, do: func(w *world, n *node, _ int) {
		w.spanctl(n, "down")
		w.onHeal(commanded, "mesh of "+n.Name, func() { w.spanctl(n, "reload") })
	}},
	"reload": {weight: 1, do: func(w *world, n *node, _ int) { w.spanctl(n, "reload") }},
}

// otherName gives the mesh's link another name, which makes it anew.
const otherName = `interfaceName: "other0"`

// edit adds a setting to a config, until faults are healed.
func (w *world) edit(n *node, setting string) {
	n.restarts = n.restarts || setting == otherName
	w.configure(n, harness.Edit(n.config, setting))
}

// configure writes a config, until faults are healed.
func (w *world) configure(n *node, config string) {
	n.Files.WriteConfig(config)
	w.restoreConfig(n)
}

func (w *world) restoreConfig(n *node) {
	w.onHeal(around, "config of "+n.Name, func() { n.Files.WriteConfig(n.config) })
}

// stateActions fill, damage and delete the files of an agent's state.
var stateActions = map[string]action{
	"read-only-state": {weight: 2, do: func(w *world, n *node, _ int) {
		if _, ok := w.try(n.Machine, "read-only", n.StateDir()); ok {
			w.onHeal(uncovered, "state of "+n.Name, func() { w.try(n.Machine, "uncover", n.StateDir()) })
		}
	}},
	"fill-state": {weight: 2, do: func(w *world, n *node, _ int) { w.fill(n.Machine, n.StateDir()) }},
	"damage-state": {weight: 2, do: func(w *world, n *node, argument int) {
		if path := w.stateFile(n, argument); path != "" {
			damages := []string{"", "\x01\x02\x03", "{", "a: [", strings.Repeat("x", 5000)}
			w.command(n.Machine, "sh", "-c", `printf %s "$1" >"$2"`, "sh", damages[argument/7%len(damages)], path)
		}
	}},
	"delete-state": {weight: 2, do: func(w *world, n *node, argument int) {
		if path := w.stateFile(n, argument); path != "" {
			w.command(n.Machine, "rm", "-f", path)
		}
	}},
	"damage-identity": {weight: 1, do: func(w *world, n *node, argument int) {
		file := filepath.Join(n.StateDir(), []string{"kubespan-identity.yaml", "node-identity.yaml"}[argument%2])
		saved := "/run/saved-" + filepath.Base(file)
		if _, ok := w.command(n.Machine, "sh", "-c", `test -s "$2" || cp -p "$1" "$2"`, "sh", file, saved); !ok {
			return
		}
		w.command(n.Machine, "sh", "-c", `printf "nodeId: [" >"$1"`, "sh", file)
		w.onHeal(around, file+" of "+n.Name, func() { w.command(n.Machine, "sh", "-c", `cat "$2" >"$1" && rm "$2"`, "sh", file, saved) })
		w.onHeal(commanded, "mesh of "+n.Name, func() { w.spanctl(n, "reload") })
	}},
}

// stateFile chooses a file of an agent's state that it can do without: not the identity.
func (w *world) stateFile(n *node, argument int) string {
	out, ok := w.command(n.Machine, "find", n.StateDir(), "-type", "f", "!", "-name", "*identity*", "!", "-name", "filler", "!", "-name", "*.lock")
	files := strings.Fields(out)
	if !ok || len(files) == 0 {
		return ""
	}
	return files[argument%len(files)]
}
