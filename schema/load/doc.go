// Package load reads machine configs: the files are parsed, unified with the schema, checked and
// decoded into a schema.Config.
//
// A config may be a file in CUE, YAML or JSON, several of these, or a CUE package in a directory.
// [Config] loads one file, an [Input] anything else.
//
// An error is of type schema.Problems if the fault is in the config. It never shows the value of
// a field that machine.cue marks with @secret.
package load
