package agent

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/reconciler/condition"
)

// unwatched returns the condition of a config file that cannot be watched; none without an error.
func unwatched(err error) []condition.Condition {
	if err == nil {
		return nil
	}
	remedy := "none is needed, but changes take effect some seconds later"
	switch {
	case errors.Is(err, unix.EMFILE):
		remedy = "raise the sysctl fs.inotify.max_user_instances, or find the program that uses them up; " +
			"if the agent has many files open, raise LimitNOFILE= of its unit"
	case errors.Is(err, unix.ENFILE):
		remedy = "raise the sysctl fs.file-max, or find the program that has the files open"
	case errors.Is(err, unix.ENOSPC):
		remedy = "raise the sysctl fs.inotify.max_user_watches, or find the program that uses them up"
	}
	return []condition.Condition{{Code: condition.ConfigUnwatched,
		Cause:  "the kernel does not report changes of the config file (" + err.Error() + "), which is looked at every two seconds instead",
		Remedy: remedy}}
}

// ambiguous returns the condition of several configs side by side; none where nothing names them.
func ambiguous(several string) []condition.Condition {
	if several == "" {
		return nil
	}
	return []condition.Condition{{Code: condition.ConfigAmbiguous, Cause: several + "; none of them is put in force",
		Remedy: "move all but one away; the config in force stays until then"}}
}
