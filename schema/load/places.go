package load

import (
	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/internal/files"
)

// Place is where a file has a secret as a text.
type Place = files.Place

// SecretPlaces returns where a file of at most 256 KiB has secrets as texts, in their order in it. Its
// error is of type schema.Problems: for a file that is not plain data, so that something in it may be
// made of a secret, and for a secret that is written with escapes. Only the syntax is looked at.
func SecretPlaces(one schema.Source) ([]Place, error) {
	found, problem := files.Places(one)
	if problem != nil {
		return nil, schema.Problems{*problem}
	}
	return found, nil
}
