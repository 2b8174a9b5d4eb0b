// Package trouble brings about what goes wrong with a mesh, in a lab, and says how that shows.
//
// A Fault is one thing that goes wrong, in several variants. Pick chooses one by a number, a Scene
// is the mesh in which it is planted, and a Sign is what an operator is to be told. Judge compares
// that with what `spanctl status` says.
package trouble
