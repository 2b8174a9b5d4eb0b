package reconciler_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/state"
	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/load"
)

// fakeKernel applies plans to a State. The tests of netlinkapply and e2e do the same on a
// real kernel.
type fakeKernel struct {
	mu         sync.Mutex
	live       state.State
	observed   int
	applied    int
	probeFault error
	probed     []peer.Probe
	replies    []peer.Reply
	address    netip.Addr
	links      []mesh.Link
	own        []netip.Addr
	// offline takes the address away.
	offline []mesh.OfflineLink
	// refuse makes Apply fail at the first change for which it returns true.
	refuse func(state.Change) bool
	// keep changes the state after each plan: the kernel keeps something otherwise.
	keep func(*state.State)
	// wedged makes the readings fail, as a process that does not answer does.
	wedged    bool
	restarted int
	// trace, if set, answers questions about routes.
	trace func(state.Path) state.Way
}

// readingErr is the error of the readings.
func (k *fakeKernel) readingErr() error {
	if !k.wedged {
		return nil
	}
	return &condition.Error{Condition: condition.Condition{Code: condition.WireGuardUnresponsive, Subject: "kubespan",
		Cause: "the process does not answer", Remedy: "wait"}}
}

func (k *fakeKernel) Restart(context.Context, state.Scope) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.wedged, k.restarted = false, k.restarted+1
	k.live.Link, k.live.Peers, k.live.Addresses = state.Link{}, nil, nil
	return nil
}

var errRefused = errors.New("refused")

func (k *fakeKernel) Host(string, mesh.LinkChoice) (mesh.Host, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	address := k.address
	if !address.IsValid() {
		address = netip.MustParseAddr("10.0.0.100")
	}
	addresses := []netip.Addr{address}
	if len(k.offline) > 0 {
		addresses = nil
	}
	return mesh.Host{Hostname: "self", Addresses: addresses, Own: k.own, Links: k.links, Offline: k.offline}, nil
}

func (k *fakeKernel) Observe(scope state.Scope) (state.State, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.observed++
	if err := k.readingErr(); err != nil {
		return state.State{}, err
	}
	if k.live.Link.Name != "" && k.live.Link.Name != scope.LinkName {
		return state.State{}, nil
	}
	live := k.live
	live.Peers = slices.Clone(live.Peers)
	live.Normalize()
	return live, nil
}

func (k *fakeKernel) Device(state.Scope) (state.Link, []state.Peer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.observed++
	if err := k.readingErr(); err != nil {
		return state.Link{}, nil, err
	}
	live := k.live
	live.Peers = slices.Clone(live.Peers)
	live.Normalize()
	return live.Link, live.Peers, nil
}

func (k *fakeKernel) Trace(paths []state.Path) []state.Way {
	k.mu.Lock()
	defer k.mu.Unlock()
	ways := make([]state.Way, len(paths))
	for i, p := range paths {
		if k.trace != nil {
			ways[i] = k.trace(p)
		}
	}
	return ways
}

func (k *fakeKernel) ClearSources(state.Scope) error { return nil }

func (k *fakeKernel) Probe(_ context.Context, _ state.Scope, probes []peer.Probe) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.probed = append(k.probed, probes...)
	return k.probeFault
}

func (k *fakeKernel) Replies() []peer.Reply {
	k.mu.Lock()
	defer k.mu.Unlock()
	replies := k.replies
	k.replies = nil
	return replies
}

func (k *fakeKernel) Apply(_ context.Context, _ state.Scope, plan state.Plan) state.Result {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, c := range plan {
		if k.refuse != nil && k.refuse(c) {
			return state.Result{Done: plan[:i], NotDone: plan[i:], Failed: c, Err: errRefused}
		}
		k.change(c)
		k.applied++
	}
	if k.keep != nil {
		k.keep(&k.live)
	}
	return state.Result{Done: plan}
}

func (k *fakeKernel) change(c state.Change) {
	gone := c.Action() == state.Delete
	switch c := c.(type) {
	case state.LinkChange:
		k.live.Link = c.New
		if gone {
			k.live.Addresses, k.live.Peers = nil, nil
		}
	case state.AddressChange:
		k.live.Addresses = replace(k.live.Addresses, c.New.Prefix, gone, func(a netip.Prefix) bool { return a == c.Old.Prefix || a == c.New.Prefix })
	case state.RouteChange:
		k.live.Routes = replace(k.live.Routes, c.New, gone, func(r state.Route) bool {
			same := func(o state.Route) bool { return r.Destination == o.Destination && r.Metric == o.Metric }
			return same(c.Old) || same(c.New)
		})
	case state.RuleChange:
		k.live.Rules = replace(k.live.Rules, c.New, gone, func(r state.Rule) bool { return r == c.Old || r == c.New })
	case state.FirewallChange:
		k.live.Firewall = c.New
	case state.NetworksChange:
		k.live.Firewall.Networks = slices.DeleteFunc(append(k.live.Firewall.Networks, c.Added...),
			func(p netip.Prefix) bool { return slices.Contains(c.Removed, p) })
		k.live.Firewall.Guard.Networks = k.live.Firewall.Networks
	case state.ReversePathChange:
		k.live.StrictReversePath = false
	case state.IPv6Change:
		k.live.IPv6Off = false
	case state.PeerChange:
		k.changePeer(c, gone)
	}
}

func (k *fakeKernel) changePeer(c state.PeerChange, gone bool) {
	changed := c.New
	if gone {
		changed = c.Old
	}
	changed.Redirect, changed.Renew, changed.Label = false, false, ""
	for _, before := range k.live.Peers {
		if before.PublicKey == changed.PublicKey {
			changed.LastHandshake, changed.ReceiveBytes, changed.TransmitBytes = before.LastHandshake, before.ReceiveBytes, before.TransmitBytes
		}
	}
	k.live.Peers = replace(k.live.Peers, changed, gone, func(p state.Peer) bool { return p.PublicKey == changed.PublicKey })
}

// isChange reports whether c is of the type C.
func isChange[C state.Change](c state.Change) bool {
	_, is := c.(C)
	return is
}

func setsEndpoint(c state.Change) bool {
	peer, is := c.(state.PeerChange)
	return is && peer.NewEndpoint()
}

func replace[T any](list []T, v T, gone bool, same func(T) bool) []T {
	list = slices.DeleteFunc(slices.Clone(list), same)
	if gone {
		return list
	}
	return append(list, v)
}

func (k *fakeKernel) all() []state.Peer {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.live.Peers)
}

// state returns the live state.
func (k *fakeKernel) state() state.State {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.live
}

// passes returns how often the kernel was read.
func (k *fakeKernel) passes() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.observed
}

// counts returns how many changes were made, and how often WireGuard was restarted.
func (k *fakeKernel) counts() (applied, restarted int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.applied, k.restarted
}

// edit changes the live state, as another program would.
func (k *fakeKernel) edit(f func(*state.State)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f(&k.live)
}

func identify(clusterID string, _ mesh.Host) (mesh.Identity, error) {
	return mesh.NewIdentity("self", mesh.SecretKey([32]byte{16}), clusterID, net.HardwareAddr{2, 0, 0, 0, 0, 0xff})
}

// fakeRegistry knows what the test lets it learn. It is open while the test's config enables
// the discovery service.
type fakeRegistry struct {
	mu          sync.Mutex
	sessions    []health.Session
	slow        time.Duration // what Sessions takes
	snapshot    reconciler.Snapshot
	changed     func()
	opened      int
	running     int
	left        int
	published   []mesh.Affiliate
	harvested   map[string][]netip.AddrPort
	announced   []mesh.Affiliate
	networks    int
	cache       []byte
	fetchErr    error
	announceErr error
	leaveErr    error
}

// driver opens r, any number of times.
func (r *fakeRegistry) driver(name string) reconciler.Driver {
	return reconciler.Driver{
		Name: name,
		Settings: func(c *schema.Config) any {
			if !c.Cluster.Discovery.Enabled || c.Cluster.Discovery.Registries.Service.Disabled {
				return nil
			}
			return c.Cluster.Discovery.Registries.Service
		},
		Open: func(o reconciler.RegistryOptions) (reconciler.Registry, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.changed = o.Changed
			r.opened++
			r.cache = o.Cache
			return r, nil
		},
	}
}

func (r *fakeRegistry) Run(ctx context.Context) {
	r.mu.Lock()
	r.running++
	r.mu.Unlock()
	<-ctx.Done()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running--
}

func (r *fakeRegistry) Fetch(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fetchErr
}

func (r *fakeRegistry) Snapshot() reconciler.Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.snapshot
}

func (r *fakeRegistry) Sessions() []health.Session {
	r.mu.Lock()
	sessions, slow := slices.Clone(r.sessions), r.slow
	r.mu.Unlock()
	time.Sleep(slow)
	return sessions
}

func (r *fakeRegistry) Publish(p reconciler.Publication) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.published, r.harvested = append(r.published, p.Local), p.Harvested
}

func (r *fakeRegistry) Announce(_ context.Context, local mesh.Affiliate) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.announceErr == nil {
		r.announced = append(r.announced, local)
	}
	return r.announceErr
}

func (r *fakeRegistry) Leave(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running > 0 {
		return errors.New("left while it runs")
	}
	if r.leaveErr == nil {
		r.left++
	}
	return r.leaveErr
}

func (r *fakeRegistry) NetworkChanged() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.networks++
}

func (r *fakeRegistry) Cache() ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return json.Marshal(len(r.snapshot.Affiliates))
}

// learn gives the registry these machines.
func (r *fakeRegistry) connect(sessions ...health.Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sessions = sessions
}

func (r *fakeRegistry) learn(affiliates ...mesh.Affiliate) {
	r.mu.Lock()
	r.snapshot = reconciler.Snapshot{Affiliates: shared(affiliates), Complete: true}
	changed := r.changed
	r.mu.Unlock()
	if changed != nil {
		changed()
	}
}

// get returns the result of f.
func get[T any](r *fakeRegistry, f func(*fakeRegistry) T) T {
	r.mu.Lock()
	defer r.mu.Unlock()
	return f(r)
}

// counts are how often the registry was opened and left, and how many follow it.
func (r *fakeRegistry) counts() [3]int {
	return get(r, func(r *fakeRegistry) [3]int { return [3]int{r.opened, r.left, r.running} })
}

// fakeCache is a reconciler.CacheStore in memory.
type fakeCache struct {
	mu   sync.Mutex
	data map[string]string
}

func (c *fakeCache) Load(registry, clusterID string) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if text, found := c.data[registry+" "+clusterID]; found {
		return []byte(text), nil
	}
	return nil, nil
}

func (c *fakeCache) Save(registry, clusterID string, data []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.data == nil {
		c.data = map[string]string{}
	}
	c.data[registry+" "+clusterID] = string(data)
	return nil
}

// discovery returns a Discovery of these registries, with a cache in memory.
func discovery(drivers ...reconciler.Driver) *reconciler.Discovery {
	return reconciler.NewDiscovery(reconciler.DiscoveryOptions{
		Drivers: drivers,
		NodeID:  func() (string, error) { return "self", nil },
		Cache:   &fakeCache{},
		Log:     discard(),
	})
}

// affiliate returns another machine with key and address n.
func affiliate(n byte, endpoints ...string) mesh.Affiliate {
	address := mesh.Subnet(clusterID).Addr().As16()
	address[15] = n
	a := mesh.Affiliate{NodeID: "node-" + string('a'+rune(n)), Nodename: "name-" + string('a'+rune(n)),
		Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, n})},
		KubeSpan:  mesh.KubeSpan{PublicKey: mesh.Key{n}, Address: netip.AddrFrom16(address)}}
	for _, e := range endpoints {
		a.KubeSpan.Endpoints = append(a.KubeSpan.Endpoints, netip.MustParseAddrPort(e))
	}
	return a
}

const (
	clusterID = "yui150Ogam0pdQoNZS2lZR-ihi8EWxNM17bZPktJKKE="
	secret    = "dAmFcyNmDXusqnTSkPJrsgLJ38W8oEEXGZKM0x6Orpc="
)

// config returns a machine config with a mesh, and settings in its kubespan section.
func config(t testing.TB, settings string) *schema.Config {
	t.Helper()
	if !strings.Contains(settings, "enabled:") {
		settings = "enabled: true, " + settings
	}
	c, err := load.Config("test.cue", []byte(`
machine: network: kubespan: {`+settings+`}
cluster: {id: "`+clusterID+`", secret: "`+secret+`", discovery: {enabled: true, registries: service: endpoint: "http://127.0.0.1:1"}}`))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
