package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/reconciler/resource"
)

// The words of wg for what there is none of.
const (
	wgNone = "(none)"
	wgOff  = "off"
)

// dump prints peers as `wg show INTERFACE dump` does: a line of the interface, then one for each
// peer, with tabs between the fields. Keys are hidden unless they are to be shown. With
// --no-headers the line of the interface is left out.
func (o *getOptions) dump(ctx context.Context, s *agentSession, typeName string, peers []*agentpb.Resource) error {
	if t, err := resource.Lookup(typeName); err != nil || t != resource.PeerStatuses {
		return errors.New("-o wg is for peers: want `spanctl get peers -o wg`")
	}
	var of [3]map[string]map[string]any
	for i, t := range []*resource.Type{resource.Identities, resource.PeerSpecs, resource.MachineConfigs} {
		response, err := call(ctx, s.List, &agentpb.ListRequest{Type: t.Aliases[0], Reveal: o.reveal})
		if err != nil {
			return err
		}
		of[i] = specsByID(response.GetResources())
	}
	text := wgDump(specsInOrder(peers), of[0]["local"], of[1], of[2]["machine"], o.noHeading)
	_, err := fmt.Fprint(s.out, plainLines(text))
	return err
}

// wgPeer is the ID of a peer, which is its key, with its status.
type wgPeer struct {
	key    string
	status map[string]any
}

func specsByID(resources []*agentpb.Resource) map[string]map[string]any {
	specs := map[string]map[string]any{}
	for _, r := range resources {
		specs[r.GetMetadata().GetId()] = r.GetSpec().AsMap()
	}
	return specs
}

func specsInOrder(resources []*agentpb.Resource) (peers []wgPeer) {
	for _, r := range resources {
		peers = append(peers, wgPeer{r.GetMetadata().GetId(), r.GetSpec().AsMap()})
	}
	return peers
}

// wgDump returns the dump of peers by the specs of the resources.
func wgDump(peers []wgPeer, identity map[string]any, specs map[string]map[string]any, config map[string]any, peersOnly bool) string {
	kubespan := at(config, "machine", "network", "kubespan")
	static := staticKeys(config)
	secret := cmp.Or(text(at(config, "cluster"), "secret"), hidden)
	var b strings.Builder
	line := func(fields ...string) { b.WriteString(strings.Join(fields, "\t") + "\n") }
	if !peersOnly {
		mark := wgOff
		if n := number(kubespan, "fwmark"); n != 0 {
			mark = fmt.Sprintf("%#x", n)
		}
		line(cmp.Or(text(identity, "privateKey"), hidden), cmp.Or(text(identity, "publicKey"), wgNone), strconv.FormatInt(number(kubespan, "listenPort"), 10), mark)
	}
	keepalive := wgOff
	if n := number(kubespan, "persistentKeepalive"); n != 0 {
		keepalive = strconv.FormatInt(n, 10)
	}
	for _, p := range peers {
		handshake := int64(0)
		if t, err := time.Parse(time.RFC3339, text(p.status, "lastHandshakeTime")); err == nil {
			handshake = t.Unix()
		}
		preshared, is := static[p.key]
		if !is {
			preshared = secret // as KubeSpan has it
		}
		line(p.key, preshared, cmp.Or(text(p.status, "endpoint"), wgNone), cmp.Or(joinedText(specs[p.key], "allowedIPs"), wgNone),
			strconv.FormatInt(handshake, 10), strconv.FormatInt(number(p.status, "receiveBytes"), 10), strconv.FormatInt(number(p.status, "transmitBytes"), 10), keepalive)
	}
	return b.String()
}

// hidden is what the API has in place of a secret.
const hidden = "(hidden)"

// staticKeys returns the preshared keys of the static peers of a config by their public keys.
func staticKeys(config map[string]any) map[string]string {
	keys := map[string]string{}
	peers, _ := at(config, "cluster", "discovery", "registries", "static")["peers"].([]any)
	for _, p := range peers {
		peer, _ := p.(map[string]any)
		key := wgNone
		if has := peer["presharedKey"]; has != nil && has != "" {
			// A reference to a file or variable is not the key.
			key = cmp.Or(text(peer, "presharedKey"), hidden)
		}
		keys[text(peer, "publicKey")] = key
	}
	return keys
}

// at returns the object at a path of JSON, or nil.
func at(of map[string]any, path ...string) map[string]any {
	for _, name := range path {
		of, _ = of[name].(map[string]any)
	}
	return of
}

func text(of map[string]any, name string) string {
	s, _ := of[name].(string)
	return s
}

func number(of map[string]any, name string) int64 {
	n, _ := of[name].(float64)
	return int64(n)
}

// joinedText returns a list of texts with commas between them.
func joinedText(of map[string]any, name string) string {
	list, _ := of[name].([]any)
	texts := make([]string, len(list))
	for i, one := range list {
		texts[i] = fmt.Sprint(one)
	}
	return strings.Join(texts, ",")
}
