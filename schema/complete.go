package schema

import "cuelang.org/go/cue"

// The settings that others depend on.
const (
	pathKubeSpan   = "machine.network.kubespan.enabled"
	pathDiscovery  = "cluster.discovery.enabled"
	pathService    = "cluster.discovery.registries.service.disabled"
	pathPeers      = "cluster.discovery.registries.static.peers"
	pathKubernetes = "cluster.discovery.registries.kubernetes.disabled"
	pathID         = "cluster.id"
	pathSecret     = "cluster.secret"
)

// wantKey is what would be right for a missing ID or secret.
const wantKey = "base64 of 32 random bytes, the same on every machine: make one with `spanctl gen secrets`"

// checkComplete finds what no single field shows: parts that need each other. A
// setting that is faulty itself is passed over.
func (s *source) checkComplete(full cue.Value) Problems {
	is := func(path string, want bool) bool {
		got, err := full.LookupPath(plainPath(path)).Bool()
		return err == nil && got == want
	}
	missing := func(path string) bool {
		v := s.user.LookupPath(plainPath(path))
		text, err := v.String()
		return !v.Exists() || err == nil && text == ""
	}
	discovery := is(pathDiscovery, true)
	peers, _ := full.LookupPath(plainPath(pathPeers)).Len().Int64()
	static := peers > 0
	var problems Problems
	if s.empty() {
		// A file that is being written has nothing in it for a moment: it must not pass
		// for the config of a machine without KubeSpan.
		p := Problem{File: s.name, Reason: "is empty",
			Want: `a machine config with the fields "machine" and "cluster"; one to leave the mesh has machine: network: kubespan: enabled: false`}
		s.at(&p, s.user.Pos())
		problems = append(problems, p)
	}
	for _, c := range []struct {
		wrong                       bool
		path, reason, want, askedBy string
	}{
		{is(pathKubeSpan, true) && is(pathDiscovery, false), pathDiscovery,
			"is false, but KubeSpan is enabled and finds its peers through discovery", "true", pathKubeSpan},
		{discovery && is(pathService, true) && is(pathKubernetes, true) && !static, pathService,
			"is true, but discovery is enabled and needs at least one registry", "false", pathDiscovery},
		{discovery && missing(pathID), pathID, "is missing, but discovery is enabled and needs it", wantKey, pathDiscovery},
		{discovery && missing(pathSecret), pathSecret, "is missing, but discovery is enabled and needs it", wantKey, pathDiscovery},
	} {
		if c.wrong {
			p := Problem{File: s.name, Path: c.path, Reason: c.reason, Want: c.want}
			s.place(&p, c.path, c.askedBy)
			problems = append(problems, p)
		}
	}
	return problems
}

// empty tells a config that sets nothing at all.
func (s *source) empty() bool {
	fields, err := s.user.Fields()
	return err == nil && !fields.Next()
}

// place puts a problem at the first of paths that the user wrote: at the
// setting itself, or at the one that asks for it.
func (s *source) place(p *Problem, paths ...string) {
	for _, path := range paths {
		if v := s.user.LookupPath(plainPath(path)); v.Exists() {
			s.at(p, v.Pos())
			return
		}
	}
}
