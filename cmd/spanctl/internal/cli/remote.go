package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// sshVariable is the environment variable with the program that reaches other machines,
// and its arguments.
const sshVariable = "SPANCTL_SSH"

// dialCommand is the command that runs on another machine to reach its agent.
const dialCommand = "dial-stdio"

// newDialStdio is not for users: --host runs it on the other machine.
func newDialStdio(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:    dialCommand,
		Short:  "Connect standard input and output with the agent, or answer in its place",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return g.connector(cmd).joinStreams(cmd.Context(), streamsOf(cmd))
		},
	}
}

// joinStreams connects the streams with the server of the API.
func (c *connector) joinStreams(ctx context.Context, s streams) error {
	// A trial that a call began does not end with the connection here.
	signal.Ignore(unix.SIGHUP, unix.SIGPIPE)
	conn, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	group := new(errgroup.Group)
	group.Go(func() error {
		_, err := io.Copy(conn, s.in)
		return errors.Join(err, conn.(*net.UnixConn).CloseWrite())
	})
	// The end of the answers ends the connection, not the end of the requests.
	_, err = io.Copy(s.out, conn)
	_, trialErr := c.awaitTrial(context.WithoutCancel(ctx))
	return errors.Join(err, trialErr)
}

// sshArguments returns the arguments of ssh that reach a host: user@machine or an ssh:// URL.
func sshArguments(host string) ([]string, error) {
	if !strings.Contains(host, "://") {
		if host == "" || strings.HasPrefix(host, "-") {
			return nil, fmt.Errorf("the host is %q: want user@machine or ssh://user@machine:port", host)
		}
		return []string{"--", host}, nil
	}
	u, err := url.Parse(host)
	if err != nil || u.Scheme != "ssh" || u.Hostname() == "" || strings.HasPrefix(u.Hostname(), "-") || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return nil, fmt.Errorf("the host is %q: want ssh://user@machine:port", host)
	}
	if _, has := u.User.Password(); has {
		return nil, errors.New("the host has a password in it: ssh asks for one, or uses a key")
	}
	var args []string
	if u.User != nil {
		args = append(args, "-l", u.User.Username())
	}
	if u.Port() != "" {
		args = append(args, "-p", u.Port())
	}
	return append(args, "--", u.Hostname()), nil
}

// dialSSH connects to the agent of a host. Socket is the path of its socket, "" for the
// default of that host. A detached connection has no terminal to ask for a password at.
func dialSSH(ctx context.Context, host, socket string, detached bool) (net.Conn, error) {
	remote := []string{dialCommand}
	if socket != "" {
		remote = append(remote, "--socket", socket)
	}
	// Not bound to ctx, which may be that of one call: closing the connection ends it.
	cmd, err := sshCommand(context.WithoutCancel(ctx), host, remote)
	if err != nil {
		return nil, err
	}
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: detached}
	c := &pipes{cmd: cmd, host: host}
	cmd.Stderr = &c.said
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.in, c.out = in, out
	c.wait = sync.OnceFunc(func() { _ = cmd.Wait() }) // its output says more than its status
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("reach %s: %w", host, err)
	}
	return c, nil
}

// sshCommand returns the command that runs spanctl with arguments on a host.
func sshCommand(ctx context.Context, host string, arguments []string) (*exec.Cmd, error) {
	args, err := sshArguments(host)
	if err != nil {
		return nil, err
	}
	program := strings.Fields(cmp.Or(os.Getenv(sshVariable), "ssh"))
	args = append(append(program[1:], args...), "spanctl")
	for _, word := range arguments {
		args = append(args, quoteShell(word))
	}
	return exec.CommandContext(ctx, program[0], args...), nil
}

// sshFailed is the exit status of ssh(1) where it has not run the command.
const sshFailed = 255

// runThere runs a command on a host with the flags that it was given. Its exit status is that of the
// command there, or exitNoAnswer.
func runThere(cmd *cobra.Command, host string) error {
	line := strings.Fields(cmd.CommandPath())[1:]
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.Name != "host" {
			line = append(line, "--"+f.Name+"="+f.Value.String())
		}
	})
	there, err := sshCommand(cmd.Context(), host, line)
	if err != nil {
		return err
	}
	var report bytes.Buffer
	taken, _ := cmd.Context().Value(joinedKey{}).(*joined)
	there.Stdout, there.Stderr = &plainWriter{out: cmd.OutOrStdout(), plain: plainLines}, cmd.ErrOrStderr()
	if taken != nil {
		there.Stdout = &report
	}
	err = there.Run()
	if taken != nil {
		taken.checks = checksIn(report.Bytes())
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() != sshFailed && exit.ExitCode() > 0:
		return exitStatus(exit.ExitCode())
	case err != nil:
		return statusError{fmt.Errorf("%s is not reached: %w", host, err), exitNoAnswer}
	default:
		return nil
	}
}

// checksIn returns the checks of a doctor's report in JSON; nil if there are none.
func checksIn(report []byte) json.RawMessage {
	var r struct {
		Checks json.RawMessage `json:"checks"`
	}
	if err := json.Unmarshal([]byte(plainJSON(string(report))), &r); err != nil {
		return nil
	}
	return r.Checks
}

// quoteShell quotes a word for the shell of another machine, if need be.
func quoteShell(word string) string {
	if word != "" && !strings.ContainsFunc(word, isShells) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// isShells reports whether a character may mean something to a shell.
func isShells(r rune) bool {
	letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
	return !letter && !strings.ContainsRune("-_./=:,@+", r)
}

// pipes is a connection through the standard input and output of a program.
type pipes struct {
	cmd  *exec.Cmd
	host string
	in   io.WriteCloser
	out  io.Reader
	// said is the beginning of the program's error output.
	said limited
	// wait waits for the program and its output to end.
	wait func()
	end  sync.Once
}

// lastWords is how long the program may take to end after its output did.
const lastWords = 2 * time.Second

var _ net.Conn = (*pipes)(nil)

// Read reads the program's output. After its end the error is the program's error output.
func (p *pipes) Read(b []byte) (int, error) {
	n, err := p.out.Read(b)
	if err != nil {
		ended := make(chan struct{})
		go func() { p.wait(); close(ended) }()
		select {
		case <-ended:
		case <-time.After(lastWords):
		}
		if said := p.said.String(); said != "" {
			return n, fmt.Errorf("%s: %s", p.host, said)
		}
	}
	return n, err
}

func (p *pipes) Write(b []byte) (int, error) { return p.in.Write(b) }

// Close ends the program.
func (p *pipes) Close() error {
	p.end.Do(func() {
		_ = p.in.Close()
		_ = p.cmd.Process.Kill()
		p.wait()
	})
	return nil
}

// sshAddress is the address at either end.
type sshAddress string

func (a sshAddress) Network() string { return "ssh" }
func (a sshAddress) String() string  { return string(a) }

func (p *pipes) LocalAddr() net.Addr  { return sshAddress("") }
func (p *pipes) RemoteAddr() net.Addr { return sshAddress(p.host) }

// Pipes have no deadlines; http.Transport sets none that matters here.
func (p *pipes) SetDeadline(time.Time) error      { return nil }
func (p *pipes) SetReadDeadline(time.Time) error  { return nil }
func (p *pipes) SetWriteDeadline(time.Time) error { return nil }

// limited keeps the first maxSaid bytes that are written.
type limited struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

const maxSaid = 4 << 10

func (l *limited) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf.Write(b[:min(len(b), maxSaid-min(l.buf.Len(), maxSaid))])
	return len(b), nil
}

func (l *limited) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.TrimSpace(l.buf.String())
}
