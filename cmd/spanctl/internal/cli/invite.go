package cli

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/spanmesh/span/cmd/spanctl/internal/agent"
	"github.com/spanmesh/span/cmd/spanctl/internal/evaluate"
	"github.com/spanmesh/span/cmd/spanctl/internal/invitefile"
	"github.com/spanmesh/span/discoveryhttp/invitation"
	"github.com/spanmesh/span/discoveryhttp/payload"
	"github.com/spanmesh/span/netlinkapply"
	"github.com/spanmesh/span/reconciler/human"
	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/generate"
)

// inviteTimeout is how long a discovery server may take to answer.
const inviteTimeout = 15 * time.Second

// inviteOptions are the flags of `spanctl invite`.
type inviteOptions struct {
	input configInput
	uses  int
	life  time.Duration
	file  string
	// recipients are public keys of age.
	recipients []string
	passphrase passphraseFlag
}

// lineFlags are those of an invitation of machines with an agent, and peerFlags those of a peer without one.
var (
	lineFlags = []string{"uses", "expires", "file", "recipient", "passphrase-file", "patch", "config", "format"}
	peerFlags = []string{"output", "endpoint", "address", "via", "print"}
)

func newInvite(g *globals) *cobra.Command {
	o, peer := &inviteOptions{}, &inviteWireguardOptions{}
	cmd := agentCommand(g, oneNode, &cobra.Command{
		Use:   "invite [--wireguard NAME [FILE]]",
		Short: "Invite machines into the mesh, by a line that they run or with plain WireGuard",
		Long: `Print a line for a new machine, which joins the mesh of this one with it:

  spanctl join https://discovery.example.com/#…

The line is a secret: who has it can join. It is good for as many machines as --uses says, until
--expires is over. The new machine gets what the machines of the cluster agree on: its ID, secret and
discovery, and the settings of the link, such as port and MTU. It does not get what is this
machine's own, such as addresses, networks, filters of endpoints and links, relays that it offers,
and the listeners of metrics and API. --patch adds to that, and changes it.

The discovery server keeps the config sealed. The key is in the part of the line after the #, which
is never sent, so that the server can neither read nor change the config.

With --file the config goes into a file instead, sealed to a passphrase, or with --recipient to a
public key of age. No server counts then, and nothing ends it: such a file is good until the secret
of the cluster is another one.

` + inviteWireguardHelp,
		Example: `  spanctl invite
  spanctl invite --uses 20 --expires 24h -p '{machine: network: kubespan: mtu: 1380}'
  spanctl invite list
  spanctl invite revoke 3f9a12bc
  spanctl invite --file web2.invitation
` + inviteWireguardExample,
		Args: cobra.MaximumNArgs(1),
	}, peer.run)
	invitePeer := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch isPeer := cmd.Flags().Changed("wireguard"); {
		case isPeer:
			if err := refuseFlags(cmd, lineFlags, "is not for a peer without an agent: want it without --wireguard"); err != nil {
				return err
			}
			return invitePeer(cmd, args)
		case g.host != "":
			return fmt.Errorf("`%s` without --wireguard is about this machine: it takes no --host", cmd.CommandPath())
		case len(args) > 0:
			return fmt.Errorf("%q is a file for a peer without an agent: want --wireguard with it", args[0])
		}
		if err := refuseFlags(cmd, peerFlags, "is for a peer without an agent: want --wireguard with it"); err != nil {
			return err
		}
		counted := cmd.Flags().Changed("uses") || cmd.Flags().Changed("expires")
		return o.run(cmd.Context(), streamsOf(cmd), counted)
	}
	cmd.Flags().IntVar(&o.uses, "uses", 1, "how many machines may join, from 1 to 1000")
	cmd.Flags().DurationVar(&o.life, "expires", time.Hour, "how long the line is good, up to 720h")
	cmd.Flags().StringVar(&o.file, "file", "", "write a sealed file for spanctl join --file in place of a line; - for standard output")
	cmd.Flags().StringArrayVar(&o.recipients, "recipient", nil, "public key of age that the file is sealed to, such as age1…, in place of a passphrase; may be given several times")
	o.passphrase.flag(cmd)
	o.input.sourceFlags(cmd, storedConfig())
	o.input.patches.flag(cmd)
	peer.flags(cmd)
	cmd.AddCommand(newInviteList(), newInviteRevoke())
	return cmd
}

// refuseFlags returns an error with a reason for the first flag of some that was given.
func refuseFlags(cmd *cobra.Command, names []string, reason string) error {
	for _, name := range names {
		if cmd.Flags().Changed(name) {
			return usageError{fmt.Errorf("--%s %s", name, reason)}
		}
	}
	return nil
}

func (o *inviteOptions) run(ctx context.Context, s streams, counted bool) error {
	switch {
	case o.file != "" && counted:
		return errors.New("--uses and --expires are counted by a discovery server: a file has neither")
	case o.file == "" && (len(o.recipients) > 0 || o.passphrase.path != ""):
		return errors.New("--recipient and --passphrase-file are for a file: want --file with them")
	case len(o.recipients) > 0 && o.passphrase.path != "":
		return errors.New("--recipient and --passphrase-file both seal the file: want one of them")
	case o.uses < 1 || o.uses > 1000:
		return fmt.Errorf("--uses is %d: want 1 to 1000", o.uses)
	case o.life < time.Second || o.life > 30*24*time.Hour:
		return fmt.Errorf("--expires is %v: want 1s to 720h", o.life)
	}
	config, err := memberConfig(ctx, s, &o.input)
	if err != nil {
		return err
	}
	joining, err := o.joining(ctx, s, config)
	if err != nil {
		return err
	}
	if o.file != "" {
		return o.writeFile(ctx, s, joining)
	}
	return o.invite(ctx, s, config, joining)
}

// memberConfig returns the config that the flags name, with its secret, of a machine that is in a
// mesh.
func memberConfig(ctx context.Context, s streams, input *configInput) (*schema.Config, error) {
	in, err := input.read(ctx, s)
	if err != nil {
		return nil, err
	}
	in.ReadSecret = agent.ReadSecret
	result, err := evaluated(ctx, s, evaluate.Request{Input: in})
	if err != nil {
		return nil, err
	}
	c := result.Config
	if !c.KubeSpan().Enabled || !c.Cluster.Discovery.Enabled || c.Cluster.ID == "" {
		return nil, fmt.Errorf("%s is of no machine in a mesh: invite from one whose config has kubespan and discovery enabled", input.names())
	}
	return c, nil
}

// joining returns the config of the new machine, which is valid.
func (o *inviteOptions) joining(ctx context.Context, s streams, c *schema.Config) ([]byte, error) {
	text, err := generate.Joining(c)
	if err != nil {
		return nil, err
	}
	patched, err := o.input.patches.apply(ctx, s, schema.Source{Name: "machine.cue", Data: text})
	if err != nil {
		return nil, fmt.Errorf("the config of the new machine: %w", err)
	}
	return patched.Data, nil
}

// writeFile seals the config of the new machine into a file.
func (o *inviteOptions) writeFile(ctx context.Context, s streams, config []byte) error {
	var sealed []byte
	var err error
	if len(o.recipients) > 0 {
		sealed, err = invitefile.SealForRecipients(config, o.recipients)
	} else {
		var passphrase string
		if passphrase, err = o.passphrase.choose(ctx, s); err == nil {
			sealed, err = invitefile.SealForPassphrase(config, passphrase)
		}
	}
	if err != nil {
		return err
	}
	return (&target{path: o.file}).write(s, sealed)
}

// invite has a discovery server keep the config, and prints the line.
func (o *inviteOptions) invite(ctx context.Context, s streams, c *schema.Config, joining []byte) error {
	key := invitation.NewKey()
	sealed, err := key.Seal(joining)
	if err != nil {
		return err
	}
	servers, err := inviteServers(c)
	if err != nil {
		return err
	}
	var failures error
	for _, server := range servers {
		expires, err := server.create(ctx, key, sealed, o.uses, o.life)
		if err != nil {
			failures = errors.Join(failures, err)
			continue
		}
		name := key.Name()
		line := invitation.Line{Server: server.url, Key: key, Cluster: key.Cluster(c.Cluster.ID), PrivateCA: server.private}
		s.note(fmt.Sprintf("for %s, until %s; keep it secret; `spanctl invite revoke %s` ends it",
			human.Count(o.uses, "machine"), expires.Local().Format(time.DateTime), shortName(name[:])))
		return s.say(line.Command())
	}
	return failures
}

// inviteServer is a discovery server that may keep invitations.
type inviteServer struct {
	*invitation.Client
	url   string
	owner invitation.Owner
	// private is set where its certificate is of an authority that the config has.
	private bool
}

// inviteServers returns the servers of a config. Each is for one machine's commands.
func inviteServers(c *schema.Config) ([]inviteServer, error) {
	secret, err := c.Cluster.Secret.Key()
	if err != nil {
		return nil, fmt.Errorf("cluster.secret %w", err)
	}
	token, err := payload.MemberToken(secret, c.Cluster.ID)
	if err != nil {
		return nil, err
	}
	owner := invitation.Owner{ClusterID: c.Cluster.ID, Token: invitation.OwnerToken(secret, c.Cluster.ID), MemberToken: token}
	service := c.Cluster.Discovery.Registries.Service
	var servers []inviteServer
	for _, text := range service.URLs() {
		u, err := url.Parse(text)
		if err != nil || u.User != nil || u.RawQuery != "" {
			continue
		}
		client, err := invitation.NewClient(invitation.Options{Server: text, CA: service.CA, Dial: netlinkapply.MarkedDialer(c.KubeSpan().FirewallMark)})
		if err != nil {
			return nil, err
		}
		if u.Path == "" {
			text += "/"
		}
		servers = append(servers, inviteServer{client, text, owner, service.CA != "" && u.Scheme == "https"})
	}
	if len(servers) == 0 {
		return nil, errors.New("the config names no discovery server that could keep an invitation (one with a password in its URL cannot be in a line): `spanctl invite --file` writes one into a file")
	}
	return servers, nil
}

func (i inviteServer) create(ctx context.Context, key invitation.Key, sealed []byte, uses int, life time.Duration) (time.Time, error) {
	ctx, stop := context.WithTimeout(ctx, inviteTimeout)
	defer stop()
	defer i.Close()
	expires, err := i.Create(ctx, i.owner, key.Name(), sealed, uses, life)
	return expires, inviteError(err)
}

// inviteError adds to an error of a server what to do about it.
func inviteError(err error) error {
	if errors.Is(err, invitation.ErrUnsupported) {
		return fmt.Errorf("%w: it is not spanctl's, or of an earlier version, or runs with --invite=false; `spanctl invite --file` needs no server", err)
	}
	return err
}

// nameLength is how much of the name of an invitation is shown, in hexadecimal digits.
const nameLength = 8

// shortName returns the name of an invitation as it is shown.
func shortName(name []byte) string { return hex.EncodeToString(name)[:nameLength] }

// passphraseFlag is where a passphrase comes from.
type passphraseFlag struct{ path string }

func (p *passphraseFlag) flag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.path, "passphrase-file", "", "file that has the passphrase of a sealed file in its first line; - for standard input (default: asked for on the terminal)")
}

// choose returns a passphrase that is asked for twice.
func (p *passphraseFlag) choose(ctx context.Context, s streams) (string, error) {
	first, err := p.read(ctx, s, "Passphrase for the file: ")
	if err != nil || p.path != "" {
		return first, err
	}
	second, err := p.read(ctx, s, "The same again: ")
	if err == nil && first != second {
		err = errors.New("the two passphrases differ")
	}
	return first, err
}

// read returns the passphrase.
func (p *passphraseFlag) read(ctx context.Context, s streams, question string) (string, error) {
	if p.path == "" {
		return askSecret(s, question)
	}
	source, err := readFile(ctx, s, p.path)
	if err != nil {
		return "", fmt.Errorf("read the passphrase: %w", err)
	}
	line, _, _ := strings.Cut(string(source), "\n")
	return strings.TrimRight(line, "\r"), nil
}

// askSecret asks for a text on the terminal, which does not show it.
func askSecret(s streams, question string) (string, error) {
	file, is := s.in.(*os.File)
	if !is || !term.IsTerminal(int(file.Fd())) {
		return "", errors.New("there is no terminal to ask for the passphrase: give --passphrase-file")
	}
	_, _ = fmt.Fprint(s.err, question)
	text, err := term.ReadPassword(int(file.Fd()))
	s.note()
	if err != nil {
		return "", fmt.Errorf("read the passphrase: %w", err)
	}
	return string(text), nil
}

// readFile reads a file of any kind, or standard input.
func readFile(ctx context.Context, s streams, path string) ([]byte, error) {
	return readAny(ctx, func() (io.ReadCloser, error) {
		if path == standardInput {
			return io.NopCloser(s.in), nil
		}
		return os.Open(path)
	})
}
