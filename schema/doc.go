// Package schema is the machine config: what a user may write, and what the
// rest of spanctl reads.
//
// The shape lives in machine.cue, which is embedded: types, bounds and
// defaults are CUE, so that one document answers both "what is allowed?" and
// "what is it if I say nothing?". Load takes the bytes of a .cue, .yaml, .yml
// or .json file, unifies them with that schema and decodes the result into
// Config. A config that does not fit yields Problems: every fault at once, each
// with its position in the user's file, the path of the field, the value found
// and what would be right.
//
// Generate and GenerateSecrets write configs that Load accepts.
//
// Values of fields marked @secret() in the schema never appear in a Problem,
// and Secret never prints itself; Secret.Reveal is the one way to its text.
//
// All functions are pure apart from GenerateSecrets, which reads randomness
// from the reader it is given, and all are safe for concurrent use.
package schema
