// Package doctor looks a machine over for what keeps a mesh from working.
//
// Gather collects plain facts within time limits and changes nothing. Judge makes findings of
// them, and does nothing else. Whatever is not known makes a finding that was skipped.
package doctor
