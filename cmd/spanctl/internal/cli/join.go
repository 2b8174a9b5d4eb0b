package cli

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/durable"
	"github.com/spanmesh/span/cmd/spanctl/internal/regular"
	"github.com/spanmesh/span/discoveryhttp/invitation"
	"github.com/spanmesh/span/reconciler/human"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/schema"
)

// joinOptions are the flags of `spanctl join`.
type joinOptions struct {
	yes, force, noStart bool
	timeout             time.Duration
	file                string
	identity            string
	passphrase          passphraseFlag
}

func newJoin(g *globals) *cobra.Command {
	o := &joinOptions{}
	cmd := &cobra.Command{
		Use:   "join LINE",
		Short: "Join a mesh with the line that spanctl invite has printed",
		Long: `Join a mesh with the line that ` + "`spanctl invite`" + ` has printed on one of its machines. Run it as root.

It fetches the config, shows what it is about to do, and asks. Then it stores the config where the
agent reads it, has the agent put it in force, waits until peers are up, and prints
` + "`spanctl status`" + `. Where systemd has the agent's unit, it enables and starts that. Elsewhere it
waits until you start ` + "`spanctl run`" + `. A line that was tried already on this machine is not counted again.

A machine that has a config of the same cluster keeps it, whatever the invitation has: the command
starts the agent and waits. One that is in another mesh, or has another config, is left as it is,
unless --force is given.

With - for LINE, the line is read from standard input, where no other user of this machine sees
it. With --file it is a file of ` + "`spanctl invite --file`" + `.

The exit status is 0 once a peer is up, or with --no-start once the config is stored.`,
		Example: `  spanctl join https://discovery.example.com/#…
  spanctl join --yes - < line
  spanctl join --file web2.invitation`,
		Args: cobra.MaximumNArgs(1),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		session, end := g.newSession(cmd)
		j := &joining{joinOptions: o, agentSession: session}
		return errors.Join(j.run(cmd.Context(), args), end())
	}
	cmd.Flags().BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&o.force, "force", false, "replace the config of another mesh, which the history of configs keeps")
	cmd.Flags().BoolVar(&o.noStart, "no-start", false, "store the config only, such as for an image: neither start the agent nor wait")
	cmd.Flags().DurationVar(&o.timeout, "timeout", 2*time.Minute, "how long the server, and then the agent and its peers, may take")
	cmd.Flags().StringVar(&o.file, "file", "", "sealed file to join with, in place of a line")
	cmd.Flags().StringVar(&o.identity, "identity", "", "file with the private key of age that the sealed file is for")
	o.passphrase.flag(cmd)
	return cmd
}

// joining is one run of `spanctl join`.
type joining struct {
	*joinOptions
	*agentSession
	// before is the stored config; nil if there is none.
	before *schema.Source
	// shown is how many peers were up when that was last shown.
	shown string
}

// offer is where the config of the new machine comes from.
type offer struct {
	// isOf reports whether the offer is of the cluster with an ID.
	isOf func(id string) bool
	// fetch returns the config.
	fetch func(ctx context.Context) ([]byte, error)
	// done forgets what was kept for the case that it is fetched again.
	done func() error
}

func (j *joining) run(ctx context.Context, args []string) error {
	what, err := j.offer(ctx, args)
	if err != nil {
		return err
	}
	switch stored, err := j.storedConfig(ctx); {
	case err == nil:
		j.before = &stored
	case connect.CodeOf(err) != connect.CodeFailedPrecondition:
		return err
	}
	member, err := j.checkMesh(ctx, what)
	switch {
	case err != nil:
		return err
	case member:
		j.note("this machine has a config of this cluster already, which stays as it is")
		return j.finish(ctx)
	}
	if err := j.checkStorable(); err != nil {
		return err
	}
	text, err := what.fetch(ctx)
	if err != nil {
		return err
	}
	source := schema.Source{Name: "machine.cue", Data: text}
	config, err := configOf(ctx, j.streams, source)
	if err != nil {
		return fmt.Errorf("the config of the invitation is not valid for this version of spanctl: install the version of the machine that invites: %w", err)
	}
	if err := j.ask(config); err != nil {
		return err
	}
	if err := j.store(ctx, source); err != nil {
		return err
	}
	if err := what.done(); err != nil {
		j.note("warning:", err)
	}
	return j.finish(ctx)
}

// offer returns the offer that the arguments name.
func (j *joining) offer(ctx context.Context, args []string) (*offer, error) {
	switch {
	case j.file == "" && len(args) == 0:
		return nil, errors.New("there is no line: want `spanctl join LINE` with what `spanctl invite` has printed on a machine of the mesh, or --file")
	case j.file != "" && len(args) > 0:
		return nil, errors.New("there are a line and --file: want one of them")
	case j.file == "" && (j.identity != "" || j.passphrase.path != ""):
		return nil, errors.New("--identity and --passphrase-file open a file: want --file with them")
	case !j.yes && !isTerminal(j.in):
		return nil, errors.New("there is no terminal to ask on: give --yes to join without a question")
	case j.file != "":
		return j.fileOffer(ctx)
	}
	text := args[0]
	if text == standardInput {
		raw, err := readFile(ctx, j.streams, standardInput)
		if err != nil {
			return nil, fmt.Errorf("read the line: %w", err)
		}
		text = string(raw)
	}
	line, err := invitation.ParseLine(text)
	if err != nil {
		return nil, err
	}
	return &offer{
		isOf:  func(id string) bool { return line.Key.Cluster(id) == line.Cluster },
		fetch: func(ctx context.Context) ([]byte, error) { return j.take(ctx, line) },
		done:  func() error { return durable.Disk{}.Remove(j.requestFile()) },
	}, nil
}

// checkMesh reports whether this machine is in the mesh already. It is an error for it to have another
// config, unless that is to be replaced.
func (j *joining) checkMesh(ctx context.Context, what *offer) (member bool, err error) {
	if j.before == nil {
		return false, nil
	}
	config, err := configOf(ctx, j.streams, *j.before)
	switch {
	case err == nil && config.Cluster.ID != "" && what.isOf(config.Cluster.ID):
		return true, nil
	case j.force:
		return false, nil
	case err != nil:
		return false, fmt.Errorf("%s is not valid, so that it cannot be said of which mesh it is: mend it, or give --force to replace it: %w", j.before.Name, err)
	case config.KubeSpan().Enabled:
		return false, fmt.Errorf("this machine is in another mesh, by %s: leave that with `spanctl down` and move the file away, or give --force to replace it", j.before.Name)
	default:
		return false, fmt.Errorf("there is a config already, %s: move it away, or give --force to replace it", j.before.Name)
	}
}

// checkStorable returns an error if this user cannot store a config: a use would be lost.
func (j *joining) checkStorable() error {
	paths := []string{j.stateDir}
	if !j.isAgents() {
		paths = append(paths, filepath.Dir(storedConfig()))
	}
	for _, path := range paths {
		for dir := path; ; dir = filepath.Dir(dir) {
			err := unix.Access(dir, unix.W_OK)
			if errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir) {
				continue // it will be made
			}
			if err != nil {
				return fmt.Errorf("%s cannot be written: %w: run the command as root", dir, err)
			}
			break
		}
	}
	return nil
}

// requestFile has the secret of which the IDs of this machine's requests are made, until it has
// joined.
func (j *joining) requestFile() string { return filepath.Join(j.stateDir, "join-request") }

// requestSecret returns that secret. It is kept, so that a line that is tried again is counted once.
func (j *joining) requestSecret() (secret [32]byte, err error) {
	path := j.requestFile()
	if kept, err := regular.Read(path, int64(len(secret))); err == nil && len(kept) == len(secret) {
		return [32]byte(kept), nil
	}
	_, _ = rand.Read(secret[:]) // it never returns an error
	if err := os.MkdirAll(j.stateDir, 0o700); err != nil {
		return secret, fmt.Errorf("keep the request: %w", err)
	}
	return secret, durable.Disk{}.Write(path, secret[:])
}

// take takes the invitation of a line.
func (j *joining) take(ctx context.Context, line invitation.Line) ([]byte, error) {
	secret, err := j.requestSecret()
	if err != nil {
		return nil, err
	}
	client, err := invitation.NewClient(invitation.Options{Server: line.Server, Unverified: line.PrivateCA})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	within, stop := context.WithTimeout(ctx, j.timeout)
	defer stop()
	last := ""
	sealed, skew, err := client.Take(within, line.Key.Name(), line.Key.RequestID(secret), func(err error, _ time.Duration) {
		if text := plain(err.Error()); text != last {
			j.note("waiting for", line.Server+":", text)
			last = text
		}
	})
	if err != nil {
		return nil, joinError(err, time.Now())
	}
	if text := skewText(skew); text != "" {
		j.note("warning:", text)
	}
	text, err := line.Key.Open(sealed)
	if err != nil {
		return nil, fmt.Errorf("%w: ask for another line", err)
	}
	return text, nil
}

// ask shows what is about to be done, and asks whether to.
func (j *joining) ask(c *schema.Config) error {
	secret, err := c.Cluster.Secret.Key()
	if err != nil {
		return fmt.Errorf("cluster.secret of the invitation %w", err)
	}
	k := c.KubeSpan()
	var discovery []string
	for _, url := range c.Cluster.Discovery.Registries.Service.URLs() {
		discovery = append(discovery, schema.ServiceURL(url).String())
	}
	rows := [][]string{
		{"cluster", mesh.Fingerprint(secret, c.Cluster.ID)},
		{"discovery", strings.Join(discovery, ", ")},
		{"mesh", fmt.Sprintf("link %s, UDP %d", k.InterfaceName, k.ListenPort)},
		{"config", j.where()},
		{"agent", j.startText()},
	}
	j.note("This machine is about to join a mesh:")
	if err := (&table{out: j.err}).print(rows...); err != nil {
		return err
	}
	if j.yes {
		return nil
	}
	_, _ = fmt.Fprint(j.err, "Join? [y/N] ")
	answer, _ := bufio.NewReader(j.in).ReadString('\n') // no answer is no
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer == "y" || answer == "yes" {
		return nil
	}
	return errors.New("not joined: nothing was changed; the same line can be used again on this machine")
}

// where says where the config is stored.
func (j *joining) where() string {
	switch {
	case j.before != nil:
		return j.before.Name + ", which is replaced"
	case j.isAgents():
		return "where the agent reads it"
	}
	return storedConfig()
}

// store stores the config, and has an agent that runs put it in force.
func (j *joining) store(ctx context.Context, source schema.Source) error {
	mode := agentpb.ApplyMode_APPLY_MODE_IMMEDIATE
	if !j.isAgents() || j.noStart {
		mode = agentpb.ApplyMode_APPLY_MODE_STAGED
	}
	response, err := call(ctx, j.Apply, &agentpb.ApplyRequest{Config: source.Data, Filename: source.Name, Mode: mode})
	if err != nil {
		return fmt.Errorf("store the config: %w", err)
	}
	if path := response.GetStoredAt(); path != "" {
		j.note("stored at", path)
	}
	if failure := response.GetPlan().GetFailure(); failure != nil {
		return printDone(j.streams, response.GetPlan())
	}
	return nil
}

// finish starts the agent, waits until peers are up, and prints the status.
func (j *joining) finish(ctx context.Context) error {
	if j.noStart {
		j.note("the agent's next start joins the mesh")
		return nil
	}
	if err := j.start(ctx); err != nil {
		return err
	}
	wait := waitOptions{timeout: j.timeout}
	if err := wait.reach(ctx, j.agentSession, j.peersGoal(1)); err != nil {
		_ = j.printStatus(ctx) // what it shows is why
		return fmt.Errorf("joined, but no peer is up: %w\n  `spanctl doctor` looks this machine over; `spanctl wait --for peers=1` waits on", err)
	}
	// Those that are down for good are in the status.
	rest := waitOptions{timeout: min(j.timeout, allPeersTime)}
	_ = rest.reach(ctx, j.agentSession, j.peersGoal(0))
	if err := j.printStatus(ctx); err != nil {
		if _, silent := errors.AsType[exitStatus](err); !silent {
			return err
		}
	}
	return nil
}

// allPeersTime is how long all peers may take once one is up.
const allPeersTime = 15 * time.Second

// peersGoal is reached when at least so many peers are up, or for 0 when all are. It shows how many
// are, when that changes.
func (j *joining) peersGoal(least int) goal {
	return goal{resource: "kubespanpeerstatuses", holds: func(specs map[string]map[string]any) (bool, string) {
		n := up(specs)
		is := fmt.Sprintf("%d of %s up", n, human.Count(len(specs), "peer"))
		if is != j.shown && len(specs) > 0 {
			j.note(is)
			j.shown = is
		}
		return n >= max(least, 1) && (least > 0 || n == len(specs)), is
	}}
}

// printStatus prints `spanctl status`.
func (j *joining) printStatus(ctx context.Context) error {
	status := &statusOptions{output: outputText, color: colorAuto, timeout: answerTimeout}
	return status.run(ctx, j.agentSession, nil)
}

// fileOffer returns the offer of a sealed file. It is opened at once: nothing counts it.
func (j *joining) fileOffer(ctx context.Context) (*offer, error) {
	text, err := j.openFile(ctx)
	if err != nil {
		return nil, fmt.Errorf("join with %s: %w", j.file, err)
	}
	config, err := configOf(ctx, j.streams, schema.Source{Name: "machine.cue", Data: text})
	if err != nil {
		return nil, fmt.Errorf("join with %s: its config is not valid for this version of spanctl: %w", j.file, err)
	}
	return &offer{
		isOf:  func(id string) bool { return id == config.Cluster.ID },
		fetch: func(context.Context) ([]byte, error) { return bytes.Clone(text), nil },
		done:  func() error { return nil },
	}, nil
}
