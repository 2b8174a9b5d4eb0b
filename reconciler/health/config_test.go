package health

import (
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler/condition"
)

func TestConfigFileIsJudged(t *testing.T) {
	const path = "/etc/spanctl/machine.cue"
	up, none := Mesh{InForce: true}, Mesh{}
	since := time.Date(2026, 11, 25, 18, 46, 0, 0, time.FixedZone("CEST", 2*60*60))
	for name, c := range map[string]struct {
		mesh   Mesh
		config Config
		code   condition.Code // "" for none
		level  condition.Severity
		cause  string
		remedy string
	}{
		"the file is in force": {mesh: up},
		"no file, and none in force": {none, Config{Missing: true}, condition.NoConfig, condition.SeverityError,
			path + " is missing; none is in force", "spanctl apply -f FILE"},
		"the file was deleted": {up, Config{Missing: true, Since: since}, condition.NoConfig, condition.SeverityWarning,
			path + " is missing; that of 2026-11-25T16:46:00Z stays in force", "spanctl rollback"},
		"staged, and none in force": {none, Config{Staged: true}, condition.ConfigStaged, condition.SeverityError,
			"a config waits in " + path + "; none is in force", "spanctl reload"},
		"staged": {up, Config{Staged: true, Since: since}, condition.ConfigStaged, condition.SeverityWarning,
			"a config waits in " + path + "; that of 2026-11-25T16:46:00Z stays in force", "spanctl reload"},
		"not valid": {up, Config{Problems: []string{path + ":5:7: mtu: 1000: is out of range", "two", "three"}, Since: since},
			condition.ConfigInvalid, condition.SeverityWarning, path + ":5:7: mtu: 1000: is out of range (and 2 more); that of 2026-11-25T16:46:00Z stays in force", "spanctl validate -f "},
		"not valid, and none in force": {none, Config{Problems: []string{path + ":1:1: is empty"}}, condition.ConfigInvalid, condition.SeverityError,
			path + ":1:1: is empty; none is in force", "spanctl validate -f "},
		"not valid, whenever the other was put in force": {up, Config{Problems: []string{"one"}}, condition.ConfigInvalid, condition.SeverityWarning,
			"one; the one in force stays", ""},
		"on trial": {up, Config{Trial: &Trial{Ends: start.Add(100 * time.Second)}}, condition.ConfigOnTrial, condition.SeverityInfo,
			"the one before returns in 1m 40s", "spanctl confirm"},
		"the first config on trial": {up, Config{Trial: &Trial{Ends: start.Add(2*time.Hour + 59*time.Minute), Alone: true}}, condition.ConfigOnTrial, condition.SeverityInfo,
			"the mesh is taken down, as there was none before, in 2h 59m", "spanctl confirm"},
		"a trial that does not end": {up, Config{Trial: &Trial{Ends: start.Add(-time.Minute)}}, condition.ConfigOnTrial, condition.SeverityWarning,
			"is up", "spanctl rollback"},
		"KubeSpan disabled": {mesh: Mesh{InForce: true, Disabled: true}, code: condition.MeshDisabled, level: condition.SeverityInfo,
			cause: "enabled is false", remedy: "for a mesh"},
		"down, and no file": {Mesh{Down: true}, Config{Missing: true}, condition.NoConfig, condition.SeverityError,
			path + " is missing; none is in force", "spanctl apply -f FILE"},
		"down by a command": {mesh: Mesh{Down: true}, code: condition.MeshDown, level: condition.SeverityInfo,
			cause: "took the mesh down", remedy: "spanctl reload"},
	} {
		t.Run(name, func(t *testing.T) {
			c.config.Path = path
			found := Assess(start, Snapshot{Started: start, Converged: true, Mesh: c.mesh, Known: Known{Config: &c.config}}, nil)
			if c.code == "" {
				if len(found) != 0 || c.config.Fault() != "" {
					t.Fatalf("got %+v", found)
				}
				return
			}
			if len(found) != 1 || !found[0].Shown || found[0].Code != c.code || found[0].Severity() != c.level ||
				!strings.Contains(found[0].Cause, c.cause) || !strings.Contains(found[0].Remedy, c.remedy) {
				t.Fatalf("got %+v", found)
			}
		})
	}
	if found := Assess(start, Snapshot{Started: start}, nil); len(found) != 0 {
		t.Errorf("before the file is known there is %+v", found)
	}
}

// TestFaultOfTheFile has what diff and status say, with all problems.
func TestFaultOfTheFile(t *testing.T) {
	for want, c := range map[string]Config{
		"": {Path: "/m.cue", Trial: &Trial{}},
		"there is no config at /m.cue; `spanctl gen config` writes one": {Path: "/m.cue", Missing: true},
		"one\ntwo": {Path: "/m.cue", Problems: []string{"one", "two"}},
		"/m.cue holds a config that is not in force: `spanctl reload` puts it in force": {Path: "/m.cue", Staged: true},
	} {
		if got := c.Fault(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
