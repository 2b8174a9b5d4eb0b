// Package check has the checks of a machine config that are finer than CUE can express.
//
// [Text] and [Number] check one value by the name that @check gives in machine.cue. [Complete]
// checks settings that need each other, and [Peers] the static peers against each other.
//
// All are pure functions. An error completes the sentence "the value …" and does not quote it.
package check
