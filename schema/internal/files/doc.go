// Package files reads the files of a machine config into CUE values, and reports where in them a
// fault is without showing a secret.
//
// What may be shown of a file follows from its syntax tree and @secret in machine.cue: names of
// fields, and the values of fields that the schema has and does not mark as secret. Everything
// else is replaced by "(hidden)": values of secret and of unknown fields, values that are not at
// a field, and comments. In a file with a syntax error only the names of the schema are shown.
package files
