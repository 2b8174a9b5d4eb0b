// Package patch applies patches to machine configs, and keeps their texts where it can.
//
// What a patch does not change stays byte for byte: indentation, empty lines, line ends, comments,
// quotes and the order of fields, in each document of YAML. A field is removed with its lines, and
// comments on lines of their own stay. CUE that is formatted as by `cue fmt` stays so. A text that
// cannot be edited so is generated again: where a patched setting is computed in CUE, or where an
// anchor's value changes that others use in YAML.
//
// A patch that is a list is a JSON patch (RFC 6902). It may add below structs that do not exist
// yet. Any other patch is a strategic merge patch:
//
//   - A struct is merged field by field. null and {"$patch": "delete"} remove a field.
//     {"$patch": "replace"} replaces the struct.
//   - A list gets the elements that it does not have yet. Elements with a name, which static peers
//     are, are merged by their names. An empty list empties it.
//
// Each document of a YAML file is a patch.
//
// Errors never show a value of a patch.
package patch
