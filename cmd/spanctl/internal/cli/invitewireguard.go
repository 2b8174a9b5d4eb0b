package cli

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/evaluate"
	"github.com/spanmesh/span/cmd/spanctl/internal/wgconf"
	"github.com/spanmesh/span/cmd/spanctl/internal/wginvite"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/load"
)

// The values of -o.
const (
	outputWGQuick        = "wg-quick"
	outputQR             = "qr"
	outputPNG            = "png"
	outputNetworkManager = "networkmanager"
	outputMikroTik       = "mikrotik"
)

const inviteWireguardHelp = `Invite a phone, a router or any machine with plain WireGuard: make its keys and its address
in the mesh, add it to this machine's config as a static peer, and print its end of the
tunnel. It reaches the mesh through this machine, which has to forward packets; the others
reach it there while it is connected.

  -o wg-quick         a file for wg-quick and for WireGuard's apps, and a QR code below it
                      on a terminal; the default
  -o qr               a QR code on the terminal, which the apps scan
  -o png FILE         a picture with the QR code
  -o networkmanager   a keyfile for /etc/NetworkManager/system-connections
  -o mikrotik         commands for the terminal of RouterOS 7

What is printed has the peer's private key and a preshared key. They are shown this once: the
private key is kept nowhere, so a peer that has lost it is taken out of the config and invited
anew. FILE is readable by its owner alone, and never replaces another.

The endpoint is the one of this machine that most networks reach; --endpoint names another,
such as a name in DNS. The peer routes the cluster's network and those that machines advertise
now.

The config is changed as by ` + "`spanctl patch --mode auto`" + `. If it was made from the package of a
fleet, it is not changed: --print writes the peer for that, and changes nothing. --via invites
the peer to another machine as well, which has to have the peer in its config too.`

const inviteWireguardExample = `  spanctl invite --wireguard phone
  spanctl invite --wireguard laptop --endpoint vpn.example.com -o networkmanager laptop.nmconnection
  spanctl invite --wireguard office --address 10.99.0.9 -o mikrotik
  spanctl invite --wireguard phone --via web2 --print phone.conf >phone.cue`

// inviteWireguardOptions are the flags of `spanctl invite --wireguard`.
type inviteWireguardOptions struct {
	name, output, endpoint string
	addresses, via         []string
	print                  bool
}

func (o *inviteWireguardOptions) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.name, "wireguard", "", "name of a peer without an agent")
	cmd.Flags().StringVarP(&o.output, "output", "o", outputWGQuick, "wg-quick, qr, png, networkmanager or mikrotik")
	cmd.Flags().StringVar(&o.endpoint, "endpoint", "", "name or address that the peer connects to, with a port or without")
	cmd.Flags().StringSliceVar(&o.addresses, "address", nil, "address of the peer; one in the cluster's prefix takes the place of its own there, others are added")
	cmd.Flags().StringSliceVar(&o.via, "via", nil, "member that the peer is invited to as well, with --print")
	cmd.Flags().BoolVar(&o.print, "print", false, "print the peer for a config, and change none; the peer's end goes to FILE")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(
		[]cobra.Completion{outputWGQuick, outputQR, outputPNG, outputNetworkManager, outputMikroTik}, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
}

func (o *inviteWireguardOptions) run(ctx context.Context, s *agentSession, args []string) error {
	file := ""
	if len(args) > 0 {
		file = args[0]
	}
	request, err := o.check(s.streams, file)
	if err != nil {
		return usageError{err}
	}
	stored, config, err := o.readConfig(ctx, s)
	if err != nil {
		return err
	}
	i, err := o.invitation(ctx, s, request, config)
	if err != nil {
		return err
	}
	ends, err := i.render(o.output)
	if err != nil {
		return err
	}
	if o.print {
		if err := writeEnds(file, ends); err != nil {
			return err
		}
		_, err := fmt.Fprint(s.out, peerCUE(i.peer))
		i.note(s.streams, file)
		return err
	}
	if file != "" {
		if err := writeEnds(file, ends); err != nil {
			return err
		}
	}
	if err := o.addPeer(ctx, s, stored, i.peer); err != nil {
		if file != "" {
			err = errors.Join(err, os.Remove(file))
		}
		return fmt.Errorf("add the peer to the config, which is as it was: %w", err)
	}
	if file == "" {
		err = o.show(s.streams, ends[0], i)
	}
	i.note(s.streams, file)
	return err
}

// check checks the flags.
func (o *inviteWireguardOptions) check(s streams, file string) (r wginvite.Request, err error) {
	if err := oneOf("output", o.output, outputWGQuick, outputQR, outputPNG, outputNetworkManager, outputMikroTik); err != nil {
		return r, err
	}
	switch {
	case o.output == outputPNG && file == "" && isTerminal(s.out):
		return r, errors.New("a picture is not for a terminal: want a file, as in `spanctl invite --wireguard phone -o png phone.png`, or -o qr")
	case o.print && file == "":
		return r, errors.New("--print writes the peer for the config to standard output: want a file for the peer's end, as in `spanctl invite --wireguard phone --print phone.conf`")
	case len(o.via) > 0 && !o.print:
		return r, errors.New("--via is for a peer that several configs have: want --print with it, and write what that prints to each")
	}
	r.Name = o.name
	for _, text := range o.addresses {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" {
			return r, fmt.Errorf("--address is %q: want an address, such as 10.99.0.9", text)
		}
		r.Addresses = append(r.Addresses, a.Unmap())
	}
	return r, wginvite.CheckName(o.name, nil)
}

// readConfig reads the stored config, which is to get the peer.
func (o *inviteWireguardOptions) readConfig(ctx context.Context, s *agentSession) (stored schema.Source, config *schema.Config, err error) {
	if stored, err = s.storedConfig(ctx); err != nil {
		return stored, nil, err
	}
	if config, err = configOf(ctx, s.streams, stored); err != nil {
		return stored, nil, err
	}
	if from, is := load.MadeFrom(stored.Data); is && !o.print {
		return stored, nil, fmt.Errorf("%s was made from %s, and the next `spanctl apply` of that would take the peer out again: "+
			"run `spanctl invite --wireguard %s --print FILE`, write what it prints to that package, and apply it", stored.Name, plain(from), o.name)
	}
	if !config.Cluster.Discovery.Enabled {
		return stored, nil, errors.New("cluster.discovery.enabled is false, and static peers are part of discovery: set it to true")
	}
	return stored, config, wginvite.CheckName(o.name, config.Cluster.Discovery.Registries.Static.Peers)
}

// peerInvitation is a peer with its ends of tunnels to machines.
type peerInvitation struct {
	peer schema.StaticPeer
	ends []end
	// left are networks that the peer does not route.
	left []netip.Prefix
}

// end is the peer's end of the tunnel to a machine.
type end struct {
	gateway wginvite.Gateway
	config  *wgconf.Config
}

// invitation makes the keys of a peer, and the rest of what it gets from what the agent knows.
func (o *inviteWireguardOptions) invitation(ctx context.Context, s *agentSession, r wginvite.Request, config *schema.Config) (*peerInvitation, error) {
	known, err := listMesh(ctx, s)
	if err != nil {
		return nil, err
	}
	gateways, err := o.gateways(known, config)
	if err != nil {
		return nil, err
	}
	keys, err := wginvite.NewKeys(rand.Reader)
	if err != nil {
		return nil, err
	}
	m := known.facts(config)
	i := &peerInvitation{}
	if i.peer, err = m.Peer(r, keys); err != nil {
		return nil, err
	}
	for _, g := range gateways {
		c, left, err := m.Config(i.peer, keys, g)
		if err != nil {
			return nil, err
		}
		i.ends, i.left = append(i.ends, end{g, c}), left
	}
	return i, nil
}

// gateways returns the machines that the peer connects to: this one first.
func (o *inviteWireguardOptions) gateways(known *knownMesh, config *schema.Config) ([]wginvite.Gateway, error) {
	own := known.own()
	g := wginvite.Gateway{Name: own.Nodename, PublicKey: known.identity.PublicKey}
	var err error
	if o.endpoint != "" {
		g.Endpoint, err = wginvite.ParseEndpoint(o.endpoint, uint16(config.KubeSpan().ListenPort))
	} else {
		g.Endpoint, err = wginvite.BestEndpoint(config.KubeSpan().ExtraAnnouncedEndpoints, own.KubeSpan.OwnEndpoints())
	}
	switch {
	case errors.Is(err, wginvite.ErrNoEndpoint):
		return nil, fmt.Errorf("this machine %w: want --endpoint with a name or an address at which the peer reaches it", err)
	case err != nil:
		return nil, usageError{fmt.Errorf("--endpoint: %w", err)}
	}
	all := []wginvite.Gateway{g}
	for _, name := range o.via {
		a := known.named(name)
		if a == nil {
			return nil, fmt.Errorf("--via is %q, which is no other member with a mesh address: `spanctl get members` lists them", name)
		}
		other := wginvite.Gateway{Name: a.Nodename, PublicKey: a.KubeSpan.PublicKey}
		if other.Endpoint, err = wginvite.BestEndpoint(nil, a.KubeSpan.OwnEndpoints()); err != nil {
			return nil, fmt.Errorf("%s %w: `spanctl get affiliates %s -o yaml` has what it publishes", plain(name), err, plain(name))
		}
		all = append(all, other)
	}
	return all, nil
}

// knownMesh is what the agent knows of the mesh.
type knownMesh struct {
	identity   resource.IdentitySpec
	affiliates map[string]resource.Affiliate
	specs      map[string]resource.PeerSpec
}

func listMesh(ctx context.Context, s *agentSession) (*knownMesh, error) {
	identities, err := specsOf[resource.IdentitySpec](ctx, s, resource.Identities)
	if err != nil {
		return nil, err
	}
	k := &knownMesh{}
	var is bool
	if k.identity, is = identities["local"]; !is {
		return nil, errors.New("this machine is in no mesh: `spanctl status` says why")
	}
	if k.affiliates, err = specsOf[resource.Affiliate](ctx, s, resource.Affiliates); err != nil {
		return nil, err
	}
	k.specs, err = specsOf[resource.PeerSpec](ctx, s, resource.PeerSpecs)
	return k, err
}

// specsOf returns the specs of a type of resource by their IDs.
func specsOf[S any](ctx context.Context, s *agentSession, t *resource.Type) (map[string]S, error) {
	response, err := call(ctx, s.List, &agentpb.ListRequest{Type: t.Aliases[0]})
	if err != nil {
		return nil, noAgentStatus(err)
	}
	specs := make(map[string]S, len(response.GetResources()))
	for _, r := range response.GetResources() {
		var spec S
		text, err := r.GetSpec().MarshalJSON()
		if err == nil {
			err = json.Unmarshal(text, &spec)
		}
		if err != nil {
			return nil, fmt.Errorf("read the %s %q of the agent, which may have another version: %w", t.Name, r.GetMetadata().GetId(), err)
		}
		specs[r.GetMetadata().GetId()] = spec
	}
	return specs, nil
}

// own returns the affiliate of this machine.
func (k *knownMesh) own() *resource.Affiliate {
	for _, a := range k.affiliates {
		if a.KubeSpan.PublicKey == k.identity.PublicKey {
			return &a
		}
	}
	return &resource.Affiliate{}
}

// named returns the other member with a name; nil if there is none, or more than one.
func (k *knownMesh) named(name string) (found *resource.Affiliate) {
	for _, a := range k.affiliates {
		if a.Nodename != name || a.Static || a.KubeSpan.IsZero() || a.KubeSpan.PublicKey == k.identity.PublicKey {
			continue
		}
		if found != nil {
			return nil
		}
		found = &a
	}
	return found
}

// facts returns what an invitation follows from.
func (k *knownMesh) facts(config *schema.Config) *wginvite.Mesh {
	m := &wginvite.Mesh{Subnet: k.identity.Subnet, Taken: map[netip.Addr]string{}, MTU: int(config.KubeSpan().MTU)}
	if config.KubeSpan().MTU == schema.AutoMTU {
		m.MTU = 0
	}
	for _, a := range k.affiliates {
		for _, address := range append(a.Addresses, a.KubeSpan.Address) {
			m.Taken[address] = a.Nodename
		}
	}
	for _, p := range config.Cluster.Discovery.Registries.Static.Peers {
		for _, n := range p.AllowedIPs {
			m.Taken[n.Addr()] = p.Name
		}
	}
	for _, spec := range k.specs {
		for _, claim := range spec.Claims {
			if claim.Kind == mesh.RankNetwork.String() && claim.Owner != "" {
				m.Networks = append(m.Networks, claim.Prefix)
			}
		}
	}
	m.Networks = append(m.Networks, k.own().KubeSpan.AdditionalAddresses...)
	for _, address := range config.KubeSpan().Addresses {
		m.Networks = append(m.Networks, address.Masked())
	}
	return m
}

// render returns the peer's ends in a format.
func (i *peerInvitation) render(output string) (ends [][]byte, err error) {
	for _, e := range i.ends {
		var text string
		var picture []byte
		switch output {
		case outputQR:
			text, err = wgconf.QR(e.config)
		case outputPNG:
			picture, err = wgconf.PNG(e.config)
		case outputNetworkManager:
			text = wgconf.NetworkManager(e.config, uuid.New())
		case outputMikroTik:
			text = wgconf.RouterOS(e.config)
		default:
			text = wgconf.WGQuick(e.config)
		}
		if err != nil {
			return nil, err
		}
		ends = append(ends, append(picture, text...))
	}
	return ends, nil
}

// writeEnds writes the peer's end of the tunnel to this machine to a file, and those to others beside it.
func writeEnds(file string, ends [][]byte) error {
	for n, data := range ends {
		if err := writeNew(endFile(file, n), data); err != nil {
			return errors.Join(err, removeEnds(file, n))
		}
	}
	return nil
}

// removeEnds removes the first files that writeEnds has written.
func removeEnds(file string, n int) (err error) {
	for i := range n {
		err = errors.Join(err, os.Remove(endFile(file, i)))
	}
	return err
}

// endFile returns the name of the file of an end: phone.conf, phone-2.conf.
func endFile(file string, n int) string {
	if n == 0 {
		return file
	}
	dot := strings.LastIndexByte(file, '.')
	if dot <= strings.LastIndexByte(file, '/')+1 {
		dot = len(file)
	}
	return fmt.Sprintf("%s-%d%s", file[:dot], n+1, file[dot:])
}

// writeNew writes a file that was not there, and that only its owner can read.
func writeNew(path string, data []byte) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists already, and may have the keys of another peer: name another file, or remove it", path)
	}
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err := errors.Join(err, file.Chmod(0o600), file.Sync(), file.Close()); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(path))
	}
	return nil
}

// addPeer patches the stored config, and puts it in force.
func (o *inviteWireguardOptions) addPeer(ctx context.Context, s *agentSession, stored schema.Source, peer schema.StaticPeer) error {
	patch := schema.Source{Name: "invitation.cue", Data: []byte(peerCUE(peer))}
	flags := applyFlags{mode: modeAuto, timed: &pflag.Flag{}}
	notes := *s
	notes.out = s.err // standard output is for the peer's end
	for again := 0; ; again++ {
		result, err := evaluated(ctx, s.streams, evaluate.Request{Input: load.Input{Sources: []schema.Source{stored}}, Patches: []schema.Source{patch}})
		if err != nil {
			return err
		}
		err = flags.applyOver(ctx, &notes, result.Source, stored.Data)
		if !isConflict(err) || again == mostPatches {
			return err
		}
		// Somebody else has changed the config meanwhile.
		if stored, _, err = o.readConfig(ctx, s); err != nil {
			return err
		}
	}
}

// peerCUE returns the part of a config with a static peer.
func peerCUE(p schema.StaticPeer) string {
	addresses := make([]string, len(p.AllowedIPs))
	for i, n := range p.AllowedIPs {
		addresses[i] = fmt.Sprintf("%q", n)
	}
	key := mesh.Key(p.PublicKey)
	return fmt.Sprintf(`cluster: discovery: registries: static: peers: [{
	name:         %q
	publicKey:    %q
	presharedKey: %q
	allowedIPs: [%s]
	advertise: true
}]
`, p.Name, key.String(), p.PresharedKey.Reveal(), strings.Join(addresses, ", "))
}

// show prints the peer's end. On a terminal, the file for wg-quick has its QR code below.
func (o *inviteWireguardOptions) show(s streams, data []byte, i *peerInvitation) error {
	if _, err := s.out.Write(data); err != nil {
		return fmt.Errorf("print the keys of %s, which are lost: take it out of the config with `spanctl edit`, and invite it anew: %w", i.peer.Name, err)
	}
	if o.output != outputWGQuick || !isTerminal(s.out) {
		return nil
	}
	code, err := wgconf.QR(i.ends[0].config)
	if err == nil {
		_, err = fmt.Fprint(s.out, "\n"+code)
	}
	return err
}

// note says what the user has to know.
func (i *peerInvitation) note(s streams, file string) {
	for n, e := range i.ends {
		if file != "" {
			s.note("wrote", endFile(file, n), "for", plain(e.gateway.Name)+", with the private key, which is kept nowhere else")
		}
		if e.gateway.Endpoint.Private {
			s.note("warning:", e.gateway.Endpoint.String(), "is a private address: the peer reaches", plain(e.gateway.Name), "in that network only; --endpoint names another")
		}
	}
	for _, n := range i.left {
		s.note("warning: the peer does not route", n.String()+", since the endpoint is in it")
	}
}
