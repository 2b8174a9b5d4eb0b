// Package cli is the commands of spanctl: what they are called, what they take,
// and how they print. What they do is done by the other packages.
//
// Every file is a command or a family of them; client.go calls the agent,
// output.go prints.
package cli
