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
	facts, err := listWG(ctx, s, o.reveal)
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(s.out, plainLines(facts.dump(specsInOrder(peers), o.noHeading)))
	return err
}

// wgFacts are the specs of resources that a text for wg is made of.
type wgFacts struct {
	identity map[string]any
	// specs are those of the peers by their keys.
	specs  map[string]map[string]any
	config map[string]any
	// static are the preshared keys of the static peers by their keys.
	static map[string]string
}

// listWG asks for the resources.
func listWG(ctx context.Context, s *agentSession, reveal bool) (*wgFacts, error) {
	var of [3]map[string]map[string]any
	for i, t := range []*resource.Type{resource.Identities, resource.PeerSpecs, resource.MachineConfigs} {
		response, err := call(ctx, s.List, &agentpb.ListRequest{Type: t.Aliases[0], Reveal: reveal})
		if err != nil {
			return nil, err
		}
		of[i] = specsByID(response.GetResources())
	}
	config := of[2]["machine"]
	return &wgFacts{of[0]["local"], of[1], config, staticKeys(config)}, nil
}

func (f *wgFacts) kubespan() map[string]any {
	return at(f.config, "machine", "network", "kubespan")
}

// privateKey returns the machine's key, or what is shown in its place.
func (f *wgFacts) privateKey() string { return cmp.Or(text(f.identity, "privateKey"), hidden) }

// presharedKey returns the preshared key of a peer, what is shown in its place, or wgNone.
func (f *wgFacts) presharedKey(peer string) string {
	if key, is := f.static[peer]; is {
		return key
	}
	return cmp.Or(text(at(f.config, "cluster"), "secret"), hidden) // as KubeSpan has it
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

// dump returns what "wg show dump" prints of peers.
func (f *wgFacts) dump(peers []wgPeer, peersOnly bool) string {
	kubespan := f.kubespan()
	var b strings.Builder
	line := func(fields ...string) { b.WriteString(strings.Join(fields, "\t") + "\n") }
	if !peersOnly {
		mark := wgOff
		if n := number(kubespan, "fwmark"); n != 0 {
			mark = fmt.Sprintf("%#x", n)
		}
		line(f.privateKey(), cmp.Or(text(f.identity, "publicKey"), wgNone), strconv.FormatInt(number(kubespan, "listenPort"), 10), mark)
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
		line(p.key, f.presharedKey(p.key), cmp.Or(text(p.status, "endpoint"), wgNone), cmp.Or(joinedText(f.specs[p.key], "allowedIPs"), wgNone),
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
