// Package chaos walks through random faults in a mesh of six machines, and expects after each few of them
// that the mesh heals. `make test-chaos` runs it.
//
// Package walk has the walks. Here are the world that a walk is made in, the actions that do its steps,
// and what must hold. A walk that fails is shrunk and printed as a test.
package chaos
