// Package schema holds the types of a machine config, and the schema that they follow.
//
// The schema is machine.cue: types, bounds and defaults are CUE, so that one document says both
// what is allowed and what holds when a setting is left out. [CUE] returns its text.
//
// The packages below work on these types:
//
//	load       reads CUE, YAML and JSON, checks them and decodes them into a Config
//	patch      merges patches into a config and keeps its format and comments
//	compare    lists the settings in which two configs differ
//	generate   writes new configs and cluster secrets
//	talos      converts machine configs of Talos Linux
//	reference  writes the reference of all settings and the JSON Schema
//
// A config with a fault yields [Problems]: every fault at once, each with its position in the
// user's file, the path of the field, the value found and what would be right.
//
// The attribute @secret in machine.cue marks the fields whose values are secret. Such a value
// never appears in a Problem. A [Secret] prints itself as "(hidden)"; [Secret.Reveal] returns
// its text.
//
// All functions are safe for concurrent use. Values are for reading: a Config does not change
// after it was loaded.
package schema
