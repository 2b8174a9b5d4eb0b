// Package agent answers the API of spanctl, with an agent and without one.
//
// The service (service.go) implements the API over two parts:
//
//   - A Runner (runner.go) does passes: the loop of an agent, or one pass at a
//     time where no agent runs (oneshot.go). All that differs between the two
//     ways comes from the Runner.
//   - The configManager (config.go, trial.go) owns the config file, the
//     history, the trial and the locks.
//
// Run is the agent. It follows the config file and the kernel, runs the loop and
// answers the API on a unix socket. Local answers the API in the process of a
// command, where no agent runs.
//
// A state directory has one user at a time: an agent keeps its lock while it
// runs, a one-shot pass while it lasts.
package agent
