// Package reference writes the documents that are generated from the schema: the reference of all
// settings, and the JSON Schema.
package reference
