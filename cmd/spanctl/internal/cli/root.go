package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/cmd/spanctl/internal/agent"
	"github.com/spanmesh/span/netlinkapply"
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

// exitStatus is an error that is no message but a status.
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
	begin()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	root := Root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return status(root.ExecuteContext(ctx), stderr)
}

// status prints an error for people and tells the exit status.
func status(err error, stderr io.Writer) int {
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
		_, _ = fmt.Fprintln(stderr, "spanctl:", message(err))
	}
	var own statusError
	if errors.As(err, &own) {
		return own.status
	}
	return exitError
}

// The defaults of the common flags.
const (
	defaultConfig   = "/etc/spanctl/machine.cue"
	defaultStateDir = "/var/lib/spanctl"
	defaultSocket   = "/run/spanctl/spanctl.sock"
)

// settings are the common flags.
type settings struct {
	// configs are the files and directories that make up the config, of which
	// expression picks it.
	configs    []string
	expression string
	// patches are applied to it.
	patches  []string
	stateDir string
	socket   string
	// socketSet tells that a flag says where the socket is.
	socketSet bool
	// host is another machine that a command is about, nodes are several.
	host      string
	nodes     []string
	wireguard string
	logLevel  string
	logFormat string
}

// variable adds a flag whose default an environment variable gives.
func variable(flags *pflag.FlagSet, p *string, name, env, fallback, usage string) {
	flags.StringVar(p, name, cmp.Or(os.Getenv(env), fallback), fmt.Sprintf("%s [$%s]", usage, env))
}

// Root is the command with all others below it.
func Root() *cobra.Command {
	s := &settings{}
	root := &cobra.Command{
		Use:   "spanctl",
		Short: "KubeSpan for any Linux machine: an encrypted full mesh from one config file each",
		Long: `spanctl joins a Linux machine to a KubeSpan mesh: every machine of a cluster finds
every other through discovery and keeps an encrypted WireGuard tunnel to it.

  spanctl gen config --with-kubespan -o machine.cue   write a config
  spanctl run                                         be the machine's agent
  spanctl apply -f machine.cue --immediate            put a config in force
  spanctl get kubespanpeerstatuses                    see the peers
  spanctl diff                                        see what differs from the config`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.PersistentPreRun = func(cmd *cobra.Command, _ []string) { heedSignals(cmd) }
	flags := root.PersistentFlags()
	flags.StringArrayVarP(&s.configs, "config", "f", []string{storedConfig()},
		"machine config: a .cue, .yaml or .json file, a directory with a CUE package, or - for standard input; several are unified [$SPANCTL_CONFIG]")
	variable(flags, &s.stateDir, "state-dir", "SPANCTL_STATE_DIR", defaultStateDir, "directory of what the machine keeps")
	variable(flags, &s.socket, "socket", "SPANCTL_SOCKET", defaultSocket, "unix socket of the agent")
	variable(flags, &s.wireguard, "wireguard", "SPANCTL_WIREGUARD", string(netlinkapply.Auto), "where WireGuard runs: auto, kernel or userspace")
	variable(flags, &s.logLevel, "log-level", "SPANCTL_LOG_LEVEL", "info", "least level to log: debug, info, warn or error")
	variable(flags, &s.logFormat, "log-format", "SPANCTL_LOG_FORMAT", "text", "format of the log: text or json")
	flags.StringVar(&s.host, "host", "", "machine that the command is about, reached by ssh: user@machine or ssh://user@machine:port")
	flags.StringSliceVarP(&s.nodes, "nodes", "n", nil, "machines that the command is about, each as with --host; tables become one, with a column for the node")
	root.AddCommand(
		newRun(s), newApply(s), newConfirm(s), newHistory(s), newRollback(s), newPatch(s), newEdit(s), newDiff(s), newGet(s), newDown(s), newReload(s), newRotateKey(s), newVersion(s),
		newGen(), newImport(), newValidate(s), newSchema(), newDiscovery(s), newWireguardProcess(), newDialStdio(s),
	)
	s.reachNodes(root)
	completeFlags(root)
	return root
}

// killable marks commands that need not be told to end: they change nothing.
const killable = "killable"

// heedSignals ends the context of a command when the process is told to end. That takes
// a thread, which the shortest commands do without.
func heedSignals(cmd *cobra.Command) {
	if _, free := cmd.Annotations[killable]; free {
		return
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, unix.SIGTERM)
	context.AfterFunc(cmd.Context(), stop)
	cmd.SetContext(ctx)
}

// logger makes the log that the flags ask for.
func (s *settings) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.logLevel)); err != nil {
		return nil, fmt.Errorf("--log-level is %q: want debug, info, warn or error", s.logLevel)
	}
	options := &slog.HandlerOptions{Level: level}
	switch s.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	default:
		return nil, fmt.Errorf("--log-format is %q: want text or json", s.logFormat)
	}
}

// machine is the machine that the flags describe.
func (s *settings) machine(w io.Writer) (agent.Machine, error) {
	log, err := s.logger(w)
	if err != nil {
		return agent.Machine{}, err
	}
	mode := netlinkapply.Mode(s.wireguard)
	switch mode {
	case netlinkapply.Auto, netlinkapply.InKernel, netlinkapply.InUserspace:
	default:
		return agent.Machine{}, fmt.Errorf("--wireguard is %q: want auto, kernel or userspace", s.wireguard)
	}
	return agent.Machine{StateDir: s.stateDir, Wireguard: mode, Log: log}, nil
}

// oneOf checks the value of a flag.
func oneOf(flag, value string, allowed ...string) error {
	for _, a := range allowed {
		if value == a {
			return nil
		}
	}
	return fmt.Errorf("--%s is %q: want %s", flag, value, strings.Join(allowed, ", "))
}
