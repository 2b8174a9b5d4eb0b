// Package state has the network configuration of a machine as a value. A State is either
// desired, or live: read from the kernel.
//
//	Inputs --Build--> desired State --.
//	                                  Diff --> Plan (typed changes) --Impact--> interruptions
//	kernel ---------> live State -----'
//
// A Plan is an ordered list of changes with the values before and after. Once a plan is
// applied, Diff returns an empty plan. Package planprint formats plans as text.
//
// A State is complete for the objects with spanctl's ownership marks: live objects that the
// desired State does not have are deleted. Other objects are in no State. The marks are the
// name and kind of the link, the table and protocol number of routes, the priority and
// protocol number of rules, and the name of the nftables table.
//
// All functions are pure and safe for concurrent use.
package state
