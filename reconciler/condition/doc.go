// Package condition names what is wrong with a machine's mesh: each condition has a stable
// code, a cause and a remedy.
//
// codes.go has all codes. A condition is reported by the stage of a pass that finds it, for
// as long as it lasts. The engine logs it once, records an event when it begins and when it
// ends, and shows it in `spanctl get conditions`.
package condition
