// Package explain finds what a word of spanctl means: a setting of the machine config, a resource or
// a field of one, a code of a condition, or a field of a Talos document.
//
// Everything is read from where it is defined: the schema, the specs of the resources, the table of
// conditions and the importer of Talos' files.
package explain
