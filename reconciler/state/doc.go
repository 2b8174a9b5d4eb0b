// Package state is the document that spanctl works towards, and its twin read
// from the kernel: State is both.
//
// Build makes the desired State of a machine. Diff compares it with the live
// one and yields a Plan: an ordered list of typed changes that can be printed,
// counted, refused or carried out. Applying a plan and observing again gives
// an empty plan.
//
// A State is complete within the ownership marks: of what carries them in the
// kernel, all that is not in the document is deleted; what does not carry them
// is not in any State. The marks are the link's name and kind, the table and
// protocol number of routes, the priority and protocol number of rules, and
// the name of the nftables table.
//
// Private and preshared keys are compared, never rendered.
//
// All functions are pure and safe for concurrent use.
package state
