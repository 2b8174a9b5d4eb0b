package attack

import (
	"context"
	"crypto/rand"
	"slices"
)

// Attack is something that a stranger does to a server.
type Attack struct {
	// Name is unique, in words that a flag can have.
	Name string
	// What describes it.
	What string
	// Flags are those of the server, beside the defaults.
	Flags []string
	// TLS is set if the server has a certificate.
	TLS bool
	// Many is set if each connection comes from an address of its own.
	Many bool
	// Most bounds how much the server's resident memory grows, in MiB.
	Most int

	// run attacks until ctx ends.
	run func(ctx context.Context, a *attacker) error
}

// All returns all attacks.
func All() []Attack {
	return slices.Concat(readers(), staleReaders(), slow(), floods(), content(), floodsOfClusters(), amplifiers(), pages())
}

func byName(name string) (Attack, bool) {
	all := All()
	i := slices.IndexFunc(all, func(a Attack) bool { return a.Name == name })
	if i < 0 {
		return Attack{}, false
	}
	return all[i], true
}

// noise returns random bytes, as encrypted data is.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // it never fails
	return b
}
