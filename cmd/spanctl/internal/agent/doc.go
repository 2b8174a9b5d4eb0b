// Package agent makes a machine of the rooms of spanctl: it opens the kernel,
// the state directory and the seat in discovery, and hands them to the
// reconciler.
//
// Run is the agent: it follows the config file and the kernel, runs the loop and
// answers the API on a unix socket (api.go), which `spanctl get`, `diff`, `apply`
// and the others call. The keeper decides which config is in force.
//
// Once is the same machine for a single pass, where no agent runs.
package agent
