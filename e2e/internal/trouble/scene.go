package trouble

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/spanmesh/span/e2e/internal/harness"
)

// Scene is a mesh in which a fault is planted.
type Scene struct {
	*harness.Mesh
	Choice

	// On is the machine with the fault, Other is another one, Third is neither.
	On, Other, Third *harness.Machine

	t    *testing.T
	rand *rand.Rand
}

// NewScene makes a mesh with the fault of a choice, and says how it is to show.
func NewScene(t *testing.T, choice Choice) (*Scene, Sign) {
	t.Helper()
	s := &Scene{Mesh: harness.NewMesh(t, Machines), Choice: choice, t: t, rand: rand.New(rand.NewPCG(choice.Seed, 3))}
	s.On, s.Other = s.Machines[choice.On], s.Machines[choice.Other]
	s.Third = s.Machines[Machines-choice.On-choice.Other]
	s.Serve()
	sign := choice.Fault.plant(s)
	return s, sign
}

// Code returns the code that names the fault.
func (s *Scene) Code() string { return s.Fault.Code }

// startAll starts the agents that do not run.
func (s *Scene) startAll() {
	s.t.Helper()
	for _, machine := range s.Machines {
		if machine.Agent.Process == nil {
			machine.Agent.Start()
		}
	}
}

// up starts all agents, and waits until the mesh is well.
func (s *Scene) up() {
	s.t.Helper()
	s.startAll()
	s.AwaitUp()
}

// edit adds a setting to the kubespan section of the machine's config.
func (s *Scene) edit(machine *harness.Machine, setting string) {
	s.t.Helper()
	machine.Files.WriteConfig(harness.Edit(s.Config, setting))
}

// sign returns the sign of a fault of the machine with the fault, or of another.
func (s *Scene) sign(at *harness.Machine, exit int, subject string, texts ...string) Sign {
	for i, machine := range s.Machines {
		if machine == at {
			return Sign{At: i, Exit: exit, Subject: subject, Texts: texts}
		}
	}
	s.t.Fatalf("%s is not in the mesh", at.Name)
	return Sign{}
}

// fault returns err as a failure of the test.
func (s *Scene) fault(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// one returns one of several by chance.
func one[T any](s *Scene, of ...T) T { return of[s.rand.IntN(len(of))] }

// at returns a URL of the discovery server's machine.
func (s *Scene) at(scheme, port string) string {
	return scheme + "://" + net.JoinHostPort(s.Discovery.Address.String(), port)
}

// named is how long an operator waits until the fault is named.
const named = "150s"

// settled is the age of an agent at which it says all that it keeps to itself in its first 30
// seconds.
const settled = 45 * time.Second

// Look asks for the status of the machine as an operator does once the fault is named, and again
// when the agent has settled. It returns what that prints, and what is wrong with it.
func (s *Scene) Look(sign Sign) (printed string, misses []string) {
	s.t.Helper()
	machine := s.Machines[sign.At]
	if !sign.Silent {
		o := machine.CLI.Try("wait", "--for", "condition="+s.Code(), "--timeout", named)
		if o.Status != 0 {
			misses = append(misses, fmt.Sprintf("wait: status %d: %s", o.Status, o.Stderr))
		}
	}
	printed, first, started := s.status(machine, sign)
	if age := time.Until(started.Add(settled)); !sign.Silent && age > 0 {
		// That nothing else is said can only be seen in a time.
		select {
		case <-time.After(age):
		case <-s.t.Context().Done():
		}
		var later []string
		printed, later, _ = s.status(machine, sign)
		first = append(first, later...)
	}
	return printed, append(misses, first...)
}

// status asks for the status of a machine, for people and for programs, and judges it.
func (s *Scene) status(machine *harness.Machine, sign Sign) (printed string, misses []string, started time.Time) {
	s.t.Helper()
	o := machine.CLI.Try("status", "--timeout", "20s")
	document := machine.CLI.Try("status", "--timeout", "20s", "-o", "json")
	var status struct {
		Status
		Started time.Time
	}
	if err := json.Unmarshal([]byte(document.Stdout), &status); err != nil {
		misses = append(misses, fmt.Sprintf("%v in %s", err, document.Stdout))
	}
	misses = append(misses, Judge(s.Code(), sign, status.Status, o.Status)...)
	if document.Status != o.Status {
		misses = append(misses, fmt.Sprintf("with -o json the exit status is %d", document.Status))
	}
	return o.Stdout + o.Stderr, misses, status.Started
}
