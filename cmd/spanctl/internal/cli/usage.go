package cli

import (
	"errors"
	"strconv"

	"github.com/spf13/cobra"
)

// usageKey is the annotation with a command's exit status for arguments and flags that are not
// valid. It is exitError without.
const usageKey = "usage"

// withUsageStatus gives a command, whose other statuses say something else, one for arguments and
// flags that are not valid.
func withUsageStatus(cmd *cobra.Command, status int) {
	if cmd.Annotations == nil {
		cmd.Annotations = map[string]string{}
	}
	cmd.Annotations[usageKey] = strconv.Itoa(status)
}

// usageError is the error of a value that is not valid, which a command has found itself.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// begunError is the error of a command that has begun: its arguments and flags are those that it
// takes.
type begunError struct{ error }

func (e begunError) Unwrap() error { return e.error }

// markBegun makes the errors of commands known as such. All others are of the arguments and flags.
func markBegun(cmd *cobra.Command) {
	for _, below := range cmd.Commands() {
		markBegun(below)
	}
	run, has := cmd.RunE, cmd.Annotations[usageKey] != ""
	if run == nil || !has {
		return
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := run(cmd, args); err != nil {
			return begunError{err}
		}
		return nil
	}
}

// statusOfUsage returns the exit status of an error without one of its own.
func statusOfUsage(cmd *cobra.Command, err error) int {
	status, known := cmd.Annotations[usageKey]
	_, begun := errors.AsType[begunError](err)
	_, usage := errors.AsType[usageError](err)
	if !known || begun && !usage {
		return exitError
	}
	n, err := strconv.Atoi(status)
	if err != nil {
		return exitError
	}
	return n
}
