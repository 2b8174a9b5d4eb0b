package trouble

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// Fault is something that goes wrong.
type Fault struct {
	// Code is that of the condition that names it.
	Code string
	// Name says what is wrong, in a few words.
	Name string
	// Variants are the ways in which it comes about.
	Variants []string
	// plant brings the fault about in a mesh whose discovery server runs. No agent runs before.
	plant func(s *Scene) Sign
}

// Choice is a fault in a mesh of machines.
type Choice struct {
	Fault *Fault
	// Variant is one of those of the fault.
	Variant string
	// On is the number of the machine with the fault, Other that of another.
	On, Other int
	// Seed decides what else is random.
	Seed uint64
}

func (c Choice) String() string {
	return fmt.Sprintf("%s: %s, on node-%d (the other is node-%d)", c.Fault.Name, c.Variant, c.On+1, c.Other+1)
}

// Machines is the number of machines of a Scene.
const Machines = 3

// Pick chooses a fault by a number. As many numbers in a row as there are faults have each once.
func Pick(seed uint64) Choice {
	n := uint64(len(Faults))
	order := rand.New(rand.NewPCG(seed/n, 1)).Perm(len(Faults))
	f := &Faults[order[seed%n]]
	r := rand.New(rand.NewPCG(seed, 2))
	machines := r.Perm(Machines)
	return Choice{Fault: f, Variant: f.Variants[r.IntN(len(f.Variants))], On: machines[0], Other: machines[1], Seed: seed}
}

// Faults are all faults.
var Faults = slices.Concat(configFaults, discoveryFaults, machineFaults, kernelFaults, memberFaults, peerFaults)

// anySubject is that of every condition of a code.
const anySubject = "*"

// Sign is how a fault shows.
type Sign struct {
	// At is the number of the machine whose operator is to be told.
	At int
	// Subject is that of the condition; anySubject where its text has what it is about.
	Subject string
	// Texts are in its cause and remedy.
	Texts []string
	// Exit is the exit status of `spanctl status`.
	Exit int
	// Besides are the codes of the errors and warnings that are true as well.
	Besides []string
	// Silent is set where no agent answers, so that nothing can be awaited.
	Silent bool
}
