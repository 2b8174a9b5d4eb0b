package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/spanmesh/span/cmd/spanctl/internal/ui"
	"github.com/spanmesh/span/cmd/spanctl/internal/version"
)

// uiOptions are the flags of `spanctl ui`.
type uiOptions struct {
	listen             string
	open, noOpen       bool
	write, allowRemote bool
}

func newUI(g *globals) *cobra.Command {
	o := &uiOptions{}
	cmd := &cobra.Command{
		Use:   "ui",
		Short: "Show the mesh in a browser",
		Long: `Serve a page that shows the mesh: who reaches whom, what is wrong, the history of each
peer, events, the config. It is about this machine, that of --host, or those of --nodes, which are
reached by ssh; this one is among them if an agent runs here. The command, not the agent, serves the
page, until it is interrupted.

It prints a URL whose token is good for one browser and for 5 minutes. Enter prints another, except with
--host or --nodes, where ssh may ask for something at the terminal. The page is served on loopback,
and only shows. --write lets it reload, try, apply, confirm and roll back configs, too. Secrets are
never sent to it.

A browser is opened if the command runs in the terminal of a desktop, by a user other than root.`,
		Example: `  spanctl ui
  spanctl ui -n root@web1,root@web2
  ssh -t -L 8080:127.0.0.1:8080 web1 sudo spanctl ui --listen 127.0.0.1:8080`,
		Args:        cobra.NoArgs,
		Annotations: map[string]string{reachKey: string(eachNode)},
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), g, cmd) }
	cmd.Flags().StringVar(&o.listen, "listen", "127.0.0.1:0", "address to serve the page at; port 0 stands for a free one")
	cmd.Flags().BoolVar(&o.allowRemote, "allow-remote", false, "let --listen be an address that other machines reach; what is sent can be read on the way")
	cmd.Flags().BoolVar(&o.write, "write", false, "let the page change configs")
	cmd.Flags().BoolVar(&o.open, "open", false, "open the page in a browser")
	cmd.Flags().BoolVar(&o.noOpen, "no-open", false, "open no browser")
	cmd.MarkFlagsMutuallyExclusive("open", "no-open")
	return cmd
}

func (o *uiOptions) run(ctx context.Context, g *globals, cmd *cobra.Command) error {
	if err := o.checkListen(); err != nil {
		return err
	}
	machines, err := g.uiMachines(cmd)
	if err != nil {
		return err
	}
	log, err := g.logger(cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", o.listen)
	if err != nil {
		return fmt.Errorf("serve the page: %w", err)
	}
	server, err := ui.New(listener, ui.Options{Machines: machines, Write: o.write, AllowRemote: o.allowRemote, Version: version.Version,
		Explain: callError, Explanation: explanation, YAML: yamlOfJSON, Named: formatFlag{}.name, Log: log})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	s := streamsOf(cmd)
	first := server.NewURL()
	if err := s.say(first); err != nil {
		return errors.Join(err, listener.Close())
	}
	hint := "opens the page in one browser, within 5 minutes; ctrl-c ends"
	if readsEnter(s.in, g) {
		hint += ", Enter prints another URL"
		go func() { // ends with the input, or with the process
			for input := bufio.NewScanner(s.in); input.Scan(); {
				_ = s.say(server.NewURL()) // the output is gone, then
			}
		}()
	}
	s.note(hint)
	if o.opens(s.out) {
		closeBrowser := openBrowser(s, first)
		defer closeBrowser()
	}
	return server.Serve(ctx)
}

// explanation returns what `spanctl explain` prints.
func explanation(name string) (string, error) {
	var out strings.Builder
	err := (&explainOptions{output: outputText}).run(streams{out: &out}, name)
	return out.String(), err
}

// checkListen refuses addresses that other machines reach, unless that was asked for.
func (o *uiOptions) checkListen() error {
	host, _, err := net.SplitHostPort(o.listen)
	if err != nil {
		return fmt.Errorf("--listen is %q: want an address and a port, such as 127.0.0.1:8080", o.listen)
	}
	if host == "localhost" {
		return nil
	}
	addr, err := netip.ParseAddr(host)
	switch {
	case host != "" && err != nil:
		return fmt.Errorf("--listen is %q: want an IP address and a port, such as 127.0.0.1:8080", o.listen)
	case !o.allowRemote && !addr.Unmap().IsLoopback():
		return fmt.Errorf("--listen is %q, which other machines reach: want a loopback address, or --allow-remote; `ssh -L` reaches a loopback address from elsewhere", o.listen)
	}
	return nil
}

// uiMachines returns the machines that the flags name; this one where they name none, and beside
// those of --nodes where its agent can be reached.
func (g *globals) uiMachines(cmd *cobra.Command) ([]ui.Machine, error) {
	hosts := g.nodes
	if g.host != "" {
		hosts = []string{g.host}
	}
	var machines []ui.Machine
	pid := 0
	if len(g.nodes) > 0 {
		pid, _ = agentPID(g.socket)
	}
	if len(hosts) == 0 || pid != 0 {
		machines = append(machines, ui.Machine{ID: "local", Dial: g.connector(cmd).dial})
	}
	for _, host := range hosts {
		if _, err := sshArguments(host); err != nil {
			return nil, err
		}
		there := *g
		there.host, there.nodes = host, nil
		m := ui.Machine{ID: strings.TrimSuffix(strings.TrimPrefix(host, "ssh://"), "/"), Dial: there.connector(cmd).dial}
		if slices.ContainsFunc(machines, func(other ui.Machine) bool { return other.ID == m.ID }) {
			return nil, fmt.Errorf("%s is named twice", host)
		}
		machines = append(machines, m)
	}
	return machines, nil
}

// readsEnter reports whether lines of the input are for this command: not where ssh may ask for a
// password at the same terminal, nor where the command runs in the background of one.
func readsEnter(in io.Reader, g *globals) bool {
	if g.host != "" || len(g.nodes) > 0 {
		return false
	}
	file, is := in.(*os.File)
	if !is || !term.IsTerminal(int(file.Fd())) {
		return true
	}
	foreground, err := unix.IoctlGetInt(int(file.Fd()), unix.TIOCGPGRP)
	return err == nil && foreground == unix.Getpgrp()
}

// opens reports whether a browser is to be opened: as asked, else on a desktop whose user is not
// root, since browsers refuse to run as root.
func (o *uiOptions) opens(out io.Writer) bool {
	file, is := out.(*os.File)
	return o.open || !o.noOpen && is && isDesktop(os.Getenv, os.Geteuid(), term.IsTerminal(int(file.Fd())))
}

// isDesktop reports whether a user sits in front of a desktop of this machine.
func isDesktop(getenv func(string) string, user int, terminal bool) bool {
	shown := getenv("DISPLAY") != "" || getenv("WAYLAND_DISPLAY") != ""
	return terminal && shown && user != 0 && getenv("SSH_CONNECTION") == "" && getenv("SSH_TTY") == ""
}

// openBrowser opens a URL in the user's browser. Other users of this machine see the arguments of
// programs: the browser is given the path of a file that only its user reads, and that leads to the
// URL. Remove removes it.
func openBrowser(s streams, url string) (remove func()) {
	dir, err := os.MkdirTemp("", "spanctl-ui-")
	if err == nil {
		path := filepath.Join(dir, "open.html")
		page := fmt.Sprintf("<!doctype html>\n<meta http-equiv=\"refresh\" content=\"0; url=%s\">\n", url)
		if err = os.WriteFile(path, []byte(page), 0o600); err == nil {
			cmd := exec.Command("xdg-open", path)
			if err = cmd.Start(); err == nil {
				go func() { _ = cmd.Wait() }() // some stay as long as the browser does
			}
		}
	}
	if err != nil {
		s.note("no browser was opened:", err)
	}
	return func() { _ = os.RemoveAll(dir) } // it has nothing of use any more
}
