package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/cmd/spanctl/internal/evaluate"
	"github.com/spanmesh/span/reconciler/human"
	"github.com/spanmesh/span/schema"
)

// The exit statuses. Those of diff are kubectl's: 0 for no difference, 1 for
// some, more for an error.
const (
	exitOK          = 0
	exitError       = 1
	exitDifferences = 1
	exitDiffError   = 2
)

// exitStatus is an error without a message.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// statusError is an error with a status of its own.
type statusError struct {
	error
	status int
}

func (e statusError) Unwrap() error { return e.error }

// Main runs spanctl with arguments and returns its exit status.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	delayGC()
	if evaluate.IsChild(args) {
		return evaluate.Main(stdin, stdout)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stderr = &plainWriter{out: stderr, plain: plainLines}
	root := Root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return execute(ctx, root, stderr)
}

// execute runs a command and returns its exit status.
func execute(ctx context.Context, root *cobra.Command, stderr io.Writer) int {
	cmd, err := root.ExecuteContextC(ctx)
	return status(cmd, err, stderr)
}

// status prints an error of a command for people and returns the exit status.
func status(cmd *cobra.Command, err error, stderr io.Writer) int {
	if err == nil {
		return exitOK
	}
	var silent exitStatus
	if errors.As(err, &silent) {
		return int(silent)
	}
	var problems schema.Problems
	if errors.As(err, &problems) {
		// As compilers do, for editors to find the place.
		_, _ = fmt.Fprintln(stderr, problems.Explain())
	} else {
		_, _ = fmt.Fprintln(stderr, "spanctl:", err)
	}
	var own statusError
	if errors.As(err, &own) {
		return own.status
	}
	return statusOfUsage(cmd, err)
}

// Root returns the command with all others below it.
func Root() *cobra.Command {
	g := &globals{}
	root := &cobra.Command{
		Use:   "spanctl",
		Short: "KubeSpan for any Linux machine: an encrypted full mesh from one config file each",
		Long: `spanctl joins a Linux machine to a KubeSpan mesh. The machines of a cluster find
each other through discovery. Each keeps an encrypted WireGuard tunnel to every other.

  spanctl gen config --with-kubespan -o machine.cue   write a config
  spanctl run                                         start the machine's agent
  spanctl apply -f machine.cue --immediate            put a config in force
  spanctl status                                      show how the mesh is, and its peers
  spanctl diff                                        compare the kernel with the config`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		endOnSignals(cmd)
		return g.checkReach(cmd)
	}
	g.flags(root.PersistentFlags())
	root.AddCommand(
		newRun(g),
		newApply(g),
		newConfirm(g),
		newHistory(g),
		newRollback(g),
		newPatch(g),
		newEdit(g),
		newInvite(g),
		newDiff(g),
		newStatus(g),
		newTop(g),
		newWait(g),
		newGet(g),
		newExport(g),
		newPing(g),
		newUI(g),
		newDoctor(g),
		newDown(g),
		newReload(g),
		newMetrics(g),
		newRotateKey(g),
		newResetIdentity(g),
		newSupport(g),
		newVersion(g),
		newGen(),
		newImport(),
		newJoin(g),
		newValidate(),
		newSchema(), newExplain(),
		newDiscovery(g),
		newWireguardProcess(), newTunnelProcess(), newRelayProcess(),
		newDialStdio(g),
	)
	completeFlags(root)
	refuseUnknownCommands(root)
	explainArguments(root)
	markBegun(root)
	return root
}

// refuseUnknownCommands makes a command that only has others below it fail for one that it does
// not have. Cobra would print its help and succeed, and so would a script with a misspelt command.
func refuseUnknownCommands(root *cobra.Command) {
	for _, cmd := range root.Commands() {
		if cmd.Runnable() || !cmd.HasSubCommands() {
			continue
		}
		cmd.Args = cobra.NoArgs
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		cmd.Use, cmd.DisableFlagsInUseLine = cmd.Use+" COMMAND", true
	}
}

// explainArguments makes a command that is given other arguments than it takes say what it takes.
func explainArguments(cmd *cobra.Command) {
	for _, below := range cmd.Commands() {
		explainArguments(below)
	}
	accepts := cmd.Args
	if accepts == nil || cmd.HasSubCommands() {
		return
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if accepts(cmd, args) == nil {
			return nil
		}
		if cmd.Flags().Lookup("config") != nil && len(args) == 1 {
			return fmt.Errorf("%q belongs to no flag: want `%s -f %s`", args[0], cmd.CommandPath(), args[0])
		}
		verb := "are"
		if len(args) == 1 {
			verb = "is"
		}
		return fmt.Errorf("there %s %s: want `%s`", verb, human.Count(len(args), "argument"), strings.TrimSuffix(cmd.UseLine(), " [flags]"))
	}
}

// harmless marks commands that may end at once: they change nothing.
const harmless = "harmless"

// endOnSignals ends the context of a command on SIGINT and SIGTERM. That takes a thread,
// which the shortest commands do without.
func endOnSignals(cmd *cobra.Command) {
	if _, free := cmd.Annotations[harmless]; free {
		return
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, unix.SIGTERM)
	context.AfterFunc(cmd.Context(), stop)
	cmd.SetContext(ctx)
}
