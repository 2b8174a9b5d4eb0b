// Package walk makes walks of random faults, writes and reads them, and shrinks those that fail.
//
// A Walk is a list of steps that is known before the first one is done: it follows from a seed alone.
// A step that does not apply does nothing, so every part of a walk is a walk.
//
// All is pure: who does the steps is elsewhere.
package walk
