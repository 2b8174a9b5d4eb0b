// Package healthtext writes the health of a machine for people, as `spanctl status` prints it, whole
// and in parts. What other machines chose reaches no terminal as it is.
package healthtext
