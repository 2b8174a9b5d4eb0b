// Package planprint writes the changes of a state.Plan as text for people: the API's
// listing, the log and the output of `spanctl diff`. Only this package defines the names
// of fields and the format of values.
//
// Long lists are shortened. Decisions are made from the typed changes of package state,
// never from this text.
//
// Private and preshared keys are shown as "(hidden)".
package planprint
