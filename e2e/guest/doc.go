// Package guest has the tests that change a whole machine: its kernel's modules, its clock,
// its network card. They run in a virtual machine only.
package guest
