// Package field is the table of the fields of the schema: for each path its kind, its children
// and what the attributes in machine.cue say of it.
//
// fields_gen.go is generated from machine.cue, so that a config is read without evaluating the
// attributes. Run `go test ./schema/internal/field -update` after a change of machine.cue.
package field
