// Package patch applies patches to machine configs, and keeps the format, the comments and the order
// of a config where it can.
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
