// Package failure says in an operator's words why a call over the network failed.
//
// Of decides by the types of errors, never by their texts.
package failure
