package trouble

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/spanmesh/span/e2e/internal/harness"
)

// The variants of faults that come about before the agent starts, or while the mesh is well.
const (
	first = "from the start"
	later = "later"
)

// configFaults are those of the config and its file.
var configFaults = []Fault{
	{"NoConfig", "there is no config", []string{first, later}, func(s *Scene) Sign {
		remove := func() { s.fault(os.Remove(s.On.Config())) }
		if s.Variant == first {
			remove()
			s.startAll()
			return s.sign(s.On, 2, "", s.On.Config()+" is missing; none is in force", "spanctl apply -f FILE")
		}
		s.up()
		remove()
		return s.sign(s.On, 1, "", s.On.Config()+" is missing; that of ", "stays in force")
	}},
	{"ConfigStaged", "a config is staged only", []string{first, later}, func(s *Scene) Sign {
		stage := func(config string) {
			s.On.CLI.Run("apply", "-f", s.On.Files.Write("next.cue", config), "--mode", "staged")
		}
		if s.Variant == first {
			s.fault(os.Remove(s.On.Config()))
			s.startAll()
			stage(s.Config)
			return s.sign(s.On, 2, "", "a config waits in "+s.On.Config()+"; none is in force", "spanctl reload")
		}
		s.up()
		stage(harness.Edit(s.Config, "mtu: 1380"))
		return s.sign(s.On, 1, "", "a config waits in "+s.On.Config(), "stays in force", "spanctl reload")
	}},
	{"ConfigInvalid", "the config is not valid", []string{"a setting that does not exist", "a value out of range", "a brace too many",
		"an empty file", "a secret that is cut", "a file of the secret that is not there", "a value out of range, " + first}, invalidConfig},
	{"ConfigAmbiguous", "there are two configs", []string{first, later}, func(s *Scene) Sign {
		if s.Variant == later {
			s.up()
		}
		s.fault(os.WriteFile(filepath.Join(filepath.Dir(s.On.Config()), "machine.yaml"), []byte(s.YAML()), 0o600))
		s.startAll()
		return s.sign(s.On, 2, "", "machine.cue and machine.yaml", "move all but one away")
	}},
	{"ConfigOnTrial", "a config is on trial", []string{later}, func(s *Scene) Sign {
		s.up()
		s.On.CLI.Run("apply", "-f", s.On.Files.Write("next.cue", harness.Edit(s.Config, "mtu: 1390")), "--mode", "try", "--timeout", "1h")
		return s.sign(s.On, 0, "", "the one before returns in ", "spanctl confirm")
	}},
	{"MeshDisabled", "the mesh is not enabled", []string{first, later}, func(s *Scene) Sign {
		if s.Variant == later {
			s.up()
		}
		s.On.Files.WriteConfig(harness.Disabled(s.Config))
		s.startAll()
		return s.sign(s.On, 0, "", "machine.network.kubespan.enabled is false", "set it to true")
	}},
	{"MeshDown", "the mesh was taken down", []string{later}, func(s *Scene) Sign {
		s.up()
		s.On.CLI.Run("down")
		return s.sign(s.On, 0, "", "spanctl reload")
	}},
	{"FilterPassesNothing", "a filter lets nothing through", []string{"endpoints", "peerEndpoints"}, func(s *Scene) Sign {
		s.edit(s.On, `filters: `+s.Variant+`: ["!172.20.0.0/24"]`)
		s.startAll()
		return s.sign(s.On, 1, "filters."+s.Variant, "the filter lets none through", "0.0.0.0/0")
	}},
	{"MetricsUnavailable", "the metrics are to be served where they cannot be", []string{"an address of another machine", "a port that is taken"}, func(s *Scene) Sign {
		listen, want := s.Other.Address.String()+":9586", "set machine.metrics.listen to "
		if s.Variant == "a port that is taken" {
			s.On.Exec.StartNodecmd("listen", "9586")
			listen, want = "127.0.0.1:9586", "another program listens there"
		}
		s.On.Files.WriteConfig(s.Config + "\nmachine: metrics: listen: \"" + listen + "\"\n")
		s.startAll()
		return s.sign(s.On, 1, listen, want)
	}},
}

func invalidConfig(s *Scene) Sign {
	secret := s.Value("secret")
	bad := map[string]string{
		"a setting that does not exist":          harness.Edit(s.Config, one(s, unknownSettings...)),
		"a value out of range":                   harness.Edit(s.Config, one(s, valuesOutOfRange...)),
		"a brace too many":                       withBrace(s.Config),
		"an empty file":                          "",
		"a secret that is cut":                   withCutSecret(s.Config),
		"a file of the secret that is not there": strings.Replace(s.Config, `secret: "`+secret+`"`, `secret: file: "`+s.On.Dir+`/secret"`, 1),
	}
	name, atStart := strings.CutSuffix(s.Variant, ", "+first)
	if !atStart {
		s.up()
		s.On.Files.WriteConfig(bad[name])
		return s.sign(s.On, 1, "", s.On.Config()+":", "stays in force", "spanctl validate")
	}
	s.On.Files.WriteConfig(bad[name])
	s.startAll()
	return s.sign(s.On, 2, "", s.On.Config()+":", "none is in force", "spanctl validate")
}
