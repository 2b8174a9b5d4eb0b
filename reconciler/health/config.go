package health

import (
	"fmt"
	"strings"
	"time"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/human"
)

// Mesh is what a loop is asked for.
type Mesh struct {
	// InForce is set if a config is in force, and the mesh is not down.
	InForce bool
	// Disabled is set if that asks for no mesh.
	Disabled bool
	// Down is set if a command took the mesh down.
	Down bool
}

// Config is what is known of the config in the file.
type Config struct {
	// Path is the path of the file.
	Path string
	// Missing is set if there is no file.
	Missing bool
	// Problems say why the file cannot be put in force, such as "FILE:5:7: …". Secrets are not
	// among them.
	Problems []string
	// Staged is set if the file can be put in force, and is not.
	Staged bool
	// Since is when the config in force was put in force; zero if that is not known.
	Since time.Time
	// Trial is the trial of the config in force; nil for none.
	Trial *Trial
}

// Trial is a config that is in force for a while.
type Trial struct {
	// Ends is when the trial ends.
	Ends time.Time
	// Alone is set if there was no config before: the mesh is then taken down.
	Alone bool
}

// Fault says why the config in the file is not in force, a line for each reason; "" if it is.
func (c *Config) Fault() string {
	switch {
	case c.Missing:
		return fmt.Sprintf("there is no config at %s; `spanctl gen config` writes one", c.Path)
	case len(c.Problems) > 0:
		return strings.Join(c.Problems, "\n")
	case c.Staged:
		return c.Path + " holds a config that is not in force: `spanctl reload` puts it in force"
	default:
		return ""
	}
}

// judgeMesh returns the conditions of a config in force that makes no mesh.
func judgeMesh(_ time.Time, s *Snapshot) []condition.Condition {
	switch {
	case s.Mesh.Down && s.Config != nil && s.Config.Missing:
		return nil // NoConfig says more
	case s.Mesh.Down:
		return []condition.Condition{{Code: condition.MeshDown,
			Cause:  "`spanctl down` took the mesh down",
			Remedy: "`spanctl reload` brings it up"}}
	case s.Mesh.InForce && s.Mesh.Disabled:
		return []condition.Condition{{Code: condition.MeshDisabled,
			Cause:  "machine.network.kubespan.enabled is false: the machine takes part in discovery alone",
			Remedy: "set it to true for a mesh"}}
	default:
		return nil
	}
}

// judgeConfig returns the conditions of the config in the file.
func judgeConfig(now time.Time, s *Snapshot) []condition.Condition {
	c := s.Config
	if c == nil {
		return nil
	}
	var found []condition.Condition
	switch {
	case c.Missing:
		found = append(found, noConfig(s))
	case len(c.Problems) > 0:
		found = append(found, invalid(s))
	case c.Staged:
		found = append(found, condition.Condition{Code: condition.ConfigStaged, Level: s.unlessInForce(),
			Cause:  fmt.Sprintf("a config waits in %s; %s", c.Path, s.stays()),
			Remedy: "`spanctl reload` puts it in force"})
	}
	if c.Trial != nil {
		found = append(found, onTrial(now, c.Trial))
	}
	return found
}

// unlessInForce returns the level of a fault of the file: an error where no config is in force.
func (s *Snapshot) unlessInForce() condition.Severity {
	if s.Mesh.InForce {
		return condition.SeverityWarning
	}
	return condition.SeverityError
}

// stays says which config is in force whatever is in the file.
func (s *Snapshot) stays() string {
	switch {
	case !s.Mesh.InForce:
		return "none is in force"
	case s.Config.Since.IsZero():
		return "the one in force stays"
	default:
		return "that of " + clock(s.Config.Since) + " stays in force"
	}
}

func noConfig(s *Snapshot) condition.Condition {
	c := condition.Condition{Code: condition.NoConfig, Level: s.unlessInForce(),
		Cause: fmt.Sprintf("%s is missing; %s", s.Config.Path, s.stays())}
	if s.Mesh.InForce {
		c.Remedy = "restore it, such as by `spanctl rollback NUMBER` with a number of `spanctl history`, or `spanctl apply -f FILE`"
	} else {
		c.Remedy = "`spanctl apply -f FILE`; `spanctl gen config` writes a first one"
	}
	return c
}

func invalid(s *Snapshot) condition.Condition {
	cause := s.Config.Problems[0]
	if more := len(s.Config.Problems) - 1; more > 0 {
		cause += fmt.Sprintf(" (and %d more)", more)
	}
	return condition.Condition{Code: condition.ConfigInvalid, Level: s.unlessInForce(),
		Cause:  cause + "; " + s.stays(),
		Remedy: "correct the file: `spanctl validate -f " + s.Config.Path + "` has all that is wrong"}
}

func onTrial(now time.Time, t *Trial) condition.Condition {
	after := "the one before returns"
	if t.Alone {
		after = "the mesh is taken down, as there was none before,"
	}
	left := t.Ends.Sub(now).Round(time.Second)
	c := condition.Condition{Code: condition.ConfigOnTrial,
		Cause:  fmt.Sprintf("a config is on trial; %s in %s", after, human.Duration(left)),
		Remedy: "`spanctl confirm` keeps it, `spanctl rollback` ends it"}
	if left <= 0 {
		c.Level = condition.SeverityWarning
		c.Cause = "the time of the config on trial is up, and the end of the trial is under way"
		c.Remedy = "if it lasts, `spanctl rollback` ends it"
	}
	return c
}
