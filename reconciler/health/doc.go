// Package health decides what is wrong with a machine's mesh from what is known about it.
//
// Assess is pure: a Snapshot and the time go in, conditions come out. Each file has the
// conditions of one part of a Snapshot. Which conditions hide others, and how long each must
// last, is in the table of package condition.
package health
