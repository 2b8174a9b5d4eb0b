package schema

import "cuelang.org/go/cue"

// checkComplete finds what no single field shows: parts that need each other.
// A fault is placed at the setting that asks for what is missing.
func checkComplete(name string, user cue.Value, c *Config) Problems {
	var problems Problems
	add := func(path, reason, want, askedBy string) {
		p := Problem{File: name, Path: path, Reason: reason, Want: want}
		for _, candidate := range []string{path, askedBy} {
			if v := user.LookupPath(cue.ParsePath(candidate)); v.Exists() {
				p.at(v.Pos())
				break
			}
		}
		problems = append(problems, p)
	}
	const (
		kubespan  = "machine.network.kubespan.enabled"
		discovery = "cluster.discovery.enabled"
		registry  = "cluster.discovery.registries.service.disabled"
	)
	d := c.Cluster.Discovery
	if c.KubeSpan().Enabled && !d.Enabled {
		add(discovery, "is false, but KubeSpan is enabled and finds its peers through discovery", "true", kubespan)
	}
	if d.Enabled && !d.Registries.Kubernetes.Disabled {
		add("cluster.discovery.registries.kubernetes.disabled",
			"is false, but this version of spanctl has no Kubernetes registry", "true", discovery)
	}
	if d.Enabled && d.Registries.Service.Disabled {
		add(registry, "is true, but discovery is enabled and needs at least one registry", "false", discovery)
	}
	if d.Enabled && c.Cluster.ID == "" {
		add("cluster.id", "is missing, but discovery is enabled and needs it",
			"base64 of 32 random bytes, the same on every machine: make one with `spanctl gen secrets`", discovery)
	}
	if d.Enabled && c.Cluster.Secret == "" {
		add("cluster.secret", "is missing, but discovery is enabled and needs it",
			"base64 of 32 random bytes, the same on every machine: make one with `spanctl gen secrets`", discovery)
	}
	problems.sort()
	return problems
}
