package cli

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/spf13/cobra"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/wgconf"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/schema"
)

func newExport(g *globals) *cobra.Command {
	cmd := &cobra.Command{Use: "export", Short: "Show the machine as another program's config"}
	cmd.AddCommand(newExportWG(g))
	return cmd
}

// exportWGOptions are the flags of `spanctl export wg`.
type exportWGOptions struct{ quick, reveal bool }

func newExportWG(g *globals) *cobra.Command {
	o := &exportWGOptions{}
	cmd := agentCommand(g, eachNode, &cobra.Command{
		Use:   "wg",
		Short: "Show the machine's WireGuard as wg(8) reads it",
		Long: `Show this machine's end of all tunnels, as it is now, in the format that "wg showconf"
prints and "wg setconf" reads. --quick adds what wg-quick reads besides: addresses and MTU.

Keys are "(hidden)", in comments; root may have them shown with --show-secrets. Another
program with them takes the machine's place in the mesh, so the agent must not run beside
it. "spanctl get peers -o wg" prints what "wg show dump" does, for scripts.`,
		Example: `  spanctl export wg
  spanctl export wg --quick --show-secrets >kubespan.conf`,
		Args: cobra.NoArgs,
	}, o.run)
	cmd.Flags().BoolVar(&o.quick, "quick", false, "print what wg-quick reads, with addresses and MTU")
	cmd.Flags().BoolVar(&o.reveal, "show-secrets", false, "show keys too, which is for root alone")
	return cmd
}

func (o *exportWGOptions) run(ctx context.Context, s *agentSession, _ []string) error {
	response, err := call(ctx, s.List, &agentpb.ListRequest{Type: resource.PeerStatuses.Aliases[0], Reveal: o.reveal})
	if err != nil {
		return noAgentStatus(err)
	}
	facts, err := listWG(ctx, s, o.reveal)
	if err != nil {
		return noAgentStatus(err)
	}
	c, err := facts.tunnels(specsInOrder(response.GetResources()))
	if err != nil {
		return err
	}
	write := wgconf.WG
	if o.quick {
		write = wgconf.WGQuick
	}
	_, err = fmt.Fprint(s.out, write(c))
	return err
}

// tunnels returns the machine's end of the tunnels to peers.
func (f *wgFacts) tunnels(peers []wgPeer) (*wgconf.Config, error) {
	k := f.kubespan()
	c := &wgconf.Config{Interface: wgconf.Interface{Name: text(k, "interfaceName"), PrivateKey: schema.SecretText(f.privateKey()),
		ListenPort: int(number(k, "listenPort")), FirewallMark: int(number(k, "fwmark")), MTU: int(number(k, "mtu"))}}
	var err error
	if c.Interface.Addresses, err = prefixesOf([]any{f.identity["address"]}); err != nil {
		return nil, err
	}
	further, _ := k["addresses"].([]any)
	own, err := prefixesOf(further)
	if err != nil {
		return nil, err
	}
	c.Interface.Addresses = append(c.Interface.Addresses, own...)
	for _, p := range peers {
		one := wgconf.Peer{Name: text(p.status, "label"), Endpoint: text(p.status, "endpoint"), Keepalive: int(number(k, "persistentKeepalive"))}
		if one.PublicKey, err = mesh.ParseKey(p.key); err != nil {
			return nil, fmt.Errorf("read the key of the peer %q: %w", one.Name, err)
		}
		if key := f.presharedKey(p.key); key != wgNone {
			one.PresharedKey = schema.SecretText(key)
		}
		allowed, _ := f.specs[p.key]["allowedIPs"].([]any)
		if one.AllowedIPs, err = prefixesOf(allowed); err != nil {
			return nil, err
		}
		c.Peers = append(c.Peers, one)
	}
	return c, nil
}

// prefixesOf reads networks of JSON.
func prefixesOf(list []any) (networks []netip.Prefix, err error) {
	for _, one := range list {
		n, err := netip.ParsePrefix(fmt.Sprint(one))
		if err != nil {
			return nil, fmt.Errorf("read a network of the agent: %w", err)
		}
		networks = append(networks, n)
	}
	return networks, nil
}
