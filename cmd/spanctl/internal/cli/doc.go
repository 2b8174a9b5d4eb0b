// Package cli is the commands of spanctl: their names, flags and output. Other
// packages do the work.
//
// Each file is a command or a family of them. A command has an options struct
// with its flags, a constructor newX and a method run. What commands share:
//
//   - globals.go: the flags of all commands
//   - agentcommand.go: commands that speak to an agent, on one machine or many
//   - connect.go, remote.go: the connection to the agent, here or through ssh
//   - input.go: the flags that name, pick and patch a config
//   - output.go, table.go, paint.go: printing
//
// Root lists the commands. An agent command is its file and one line there.
package cli
