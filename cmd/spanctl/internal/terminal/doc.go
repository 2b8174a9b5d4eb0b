// Package terminal has what is written to terminals by all commands: their colours, and text of
// other machines without what controls a terminal.
//
// Other machines choose their names, and a discovery service its affiliates' IDs. An escape
// sequence in one must not reach the terminal, nor begin another line.
package terminal
