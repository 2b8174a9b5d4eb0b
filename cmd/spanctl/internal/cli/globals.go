package cli

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/spanmesh/span/cmd/spanctl/internal/agent"
	"github.com/spanmesh/span/netlinkapply"
)

// The defaults of the paths.
const (
	defaultConfig   = "/etc/spanctl/machine.cue"
	defaultStateDir = "/var/lib/spanctl"
	defaultSocket   = "/run/spanctl/spanctl.sock"
)

// globals are the flags of all commands.
type globals struct {
	stateDir string
	socket   string
	// host and nodes are the machines that the command is about, reached by ssh.
	host      string
	nodes     []string
	wireguard string
	logLevel  string
	logFormat string
}

func (g *globals) flags(flags *pflag.FlagSet) {
	variable(flags, &g.stateDir, "state-dir", "SPANCTL_STATE_DIR", defaultStateDir, "directory of the machine's identity, history and caches")
	variable(flags, &g.socket, "socket", "SPANCTL_SOCKET", defaultSocket, "unix socket of the agent")
	variable(flags, &g.wireguard, "wireguard", "SPANCTL_WIREGUARD", string(netlinkapply.Auto), "where WireGuard runs: auto, kernel or userspace")
	variable(flags, &g.logLevel, "log-level", "SPANCTL_LOG_LEVEL", "info", "least level to log: debug, info, warn or error")
	variable(flags, &g.logFormat, "log-format", "SPANCTL_LOG_FORMAT", "text", "format of the log: text or json")
	flags.StringVar(&g.host, "host", "", "machine that the command is about, reached by ssh: user@machine or ssh://user@machine:port")
	flags.StringSliceVarP(&g.nodes, "nodes", "n", nil, "machines that the command is about, each as with --host; tables become one, with a column for the node")
}

// variable adds a flag whose default an environment variable gives.
func variable(flags *pflag.FlagSet, p *string, name, env, fallback, usage string) {
	flags.StringVar(p, name, cmp.Or(os.Getenv(env), fallback), fmt.Sprintf("%s [$%s]", usage, env))
}

// storedConfig is the path of the stored config where no flag or agent names it.
func storedConfig() string { return cmp.Or(os.Getenv("SPANCTL_CONFIG"), defaultConfig) }

// logger makes the log that the flags ask for.
func (g *globals) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(g.logLevel)); err != nil {
		return nil, fmt.Errorf("--log-level is %q: want debug, info, warn or error", g.logLevel)
	}
	options := &slog.HandlerOptions{Level: level}
	switch g.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(&plainWriter{out: w, plain: plainJSON}, options)), nil
	default:
		return nil, fmt.Errorf("--log-format is %q: want text or json", g.logFormat)
	}
}

// machine is the machine that the flags describe.
func (g *globals) machine(w io.Writer) (agent.Machine, error) {
	log, err := g.logger(w)
	if err != nil {
		return agent.Machine{}, err
	}
	mode := netlinkapply.Mode(g.wireguard)
	switch mode {
	case netlinkapply.Auto, netlinkapply.InKernel, netlinkapply.InUserspace:
	default:
		return agent.Machine{}, fmt.Errorf("--wireguard is %q: want auto, kernel or userspace", g.wireguard)
	}
	return agent.Machine{StateDir: g.stateDir, Socket: g.socket, Wireguard: mode, Log: log}, nil
}

// streams are the standard streams of a command.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

func streamsOf(cmd *cobra.Command) streams {
	return streams{in: cmd.InOrStdin(), out: cmd.OutOrStdout(), err: cmd.ErrOrStderr()}
}

// note prints a line for people, beside the output.
func (s streams) note(words ...any) { _, _ = fmt.Fprintln(s.err, words...) }

// say prints words on a line of the output.
func (s streams) say(words ...any) error {
	_, err := fmt.Fprintln(s.out, plain(strings.TrimSuffix(fmt.Sprintln(words...), "\n")))
	return err
}

// oneOf checks the value of a flag.
func oneOf(flag, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	named := slices.DeleteFunc(slices.Clone(allowed), func(a string) bool { return a == "" }) // that is no flag
	return usageError{fmt.Errorf("--%s is %q: want %s", flag, value, strings.Join(named, ", "))}
}
