package agent

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/reconciler/state"
)

func TestPingPlan(t *testing.T) {
	for _, c := range []struct {
		name    string
		request *agentpb.PingRequest
		want    pingPlan
		err     string
	}{
		{"nothing is asked for", &agentpb.PingRequest{}, pingPlan{4, time.Second, 2 * time.Second}, ""},
		{"all is", &agentpb.PingRequest{Count: 3600, Interval: durationpb.New(200 * time.Millisecond), Wait: durationpb.New(time.Minute)},
			pingPlan{3600, 200 * time.Millisecond, time.Minute}, ""},
		{"too many", &agentpb.PingRequest{Count: 3601}, pingPlan{}, "want at most 3600"},
		{"too often", &agentpb.PingRequest{Interval: durationpb.New(199 * time.Millisecond)}, pingPlan{}, "from 200ms to 1m0s"},
		{"never again", &agentpb.PingRequest{Interval: durationpb.New(2 * time.Minute)}, pingPlan{}, "from 200ms to 1m0s"},
		{"no interval", &agentpb.PingRequest{Interval: durationpb.New(0)}, pingPlan{}, "from 200ms to 1m0s"},
		{"no wait", &agentpb.PingRequest{Wait: durationpb.New(0)}, pingPlan{}, "more than nothing"},
		{"a wait below nothing", &agentpb.PingRequest{Wait: durationpb.New(-time.Second)}, pingPlan{}, "more than nothing"},
		{"a long wait", &agentpb.PingRequest{Wait: durationpb.New(time.Hour)}, pingPlan{}, "at most 1m0s"},
	} {
		got, err := pingPlanOf(c.request)
		switch {
		case c.err == "" && (err != nil || got != c.want):
			t.Errorf("%s: got %v, %v, want %v", c.name, got, err, c.want)
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
			t.Errorf("%s: the error is %v, want %q", c.name, err, c.err)
		}
	}
}

// pingStore has three peers, two of which share a name, and a static one.
func pingStore() *resource.Store {
	store := &resource.Store{}
	key := func(n byte) string { return mesh.Key{n}.String() }
	store.Replace(time.Unix(1, 0), resource.PeerSpecs, map[string]any{
		key(1): resource.PeerSpec{Label: "db1", Address: netip.MustParseAddr("fd00::1"),
			AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32"), netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00::1/128")}},
		key(2): resource.PeerSpec{Label: "vm", Address: netip.MustParseAddr("fd00::2")},
		key(3): resource.PeerSpec{Label: "vm", Address: netip.MustParseAddr("fd00::3")},
		key(4): resource.PeerSpec{Label: "phone", AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.2.0.4/32")}},
	})
	store.Replace(time.Unix(1, 0), resource.PeerStatuses, map[string]any{
		key(1): resource.PeerStatus{Label: "db1", Name: "db1", Address: netip.MustParseAddr("fd00::1")},
		key(2): resource.PeerStatus{Label: "vm", Name: key(2), Address: netip.MustParseAddr("fd00::2"), NodeID: "node-2"},
		key(3): resource.PeerStatus{Label: "vm", Name: key(3), Address: netip.MustParseAddr("fd00::3")},
		key(4): resource.PeerStatus{Label: "phone", Name: "phone", Address: netip.MustParseAddr("10.2.0.4")},
	})
	return store
}

func TestFindPeer(t *testing.T) {
	peers := pingPeers(pingStore())
	for _, c := range []struct{ name, want, err string }{
		{"db1", "fd00::1", ""},
		{"DB1", "fd00::1", ""},
		{"fd00::1", "fd00::1", ""},
		{"fd00:0:0::1", "fd00::1", ""},
		{"10.0.0.1", "fd00::1", ""},
		{mesh.Key{3}.String(), "fd00::3", ""},
		{"node-2", "fd00::2", ""},
		{"fd00::3", "fd00::3", ""},
		{"phone", "10.2.0.4", ""},
		{"vm", "", "2 peers are called \"vm\": name one by its key; there are: " + mesh.Key{2}.String() + ", " + mesh.Key{3}.String()},
		{"db2", "", `no peer is called "db2"; there are: ` + mesh.Key{2}.String() + ", " + mesh.Key{3}.String() + ", db1, phone"},
		{"10.1.0.1", "", "no peer is called"},
		{"none", "", "no peer is called"},
		{"", "", "no peer is called"},
	} {
		got, err := findPeer(c.name, peers)
		switch {
		case c.err == "" && (err != nil || got.address.String() != c.want):
			t.Errorf("%q: got %v, %v", c.name, got.address, err)
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
			t.Errorf("%q: the error is %v, want %s", c.name, err, c.err)
		}
	}
	if _, err := findPeer("db1", nil); err == nil || !strings.Contains(err.Error(), "there are no peers") {
		t.Errorf("without peers: %v", err)
	}
}

// pingRunner is an agent that knows the peers of pingStore.
type pingRunner struct {
	fakeRunner
	slots chan struct{}
}

func (*pingRunner) Scope() state.Scope     { return state.Scope{LinkName: "missing"} }
func (r *pingRunner) Slots() chan struct{} { return r.slots }

func (*pingRunner) Resources(context.Context, *resource.Type) (*resource.Store, error) {
	return pingStore(), nil
}

func TestPingRefuses(t *testing.T) {
	runner := &pingRunner{slots: make(chan struct{}, maxPings)}
	s := &service{runner: runner}
	ping := func(m *agentpb.PingRequest) error {
		return failed(s.ping(t.Context(), m, func(*agentpb.PingResponse) error { t.Error("there is an answer"); return nil }))
	}
	for _, c := range []struct {
		name string
		err  error
		code connect.Code
	}{
		{"too many", ping(&agentpb.PingRequest{Peer: "db1", Count: 1 << 20}), connect.CodeInvalidArgument},
		{"nobody", ping(&agentpb.PingRequest{Peer: "db2"}), connect.CodeNotFound},
		{"no IPv6", ping(&agentpb.PingRequest{Peer: "phone"}), connect.CodeFailedPrecondition},
		{"no link", ping(&agentpb.PingRequest{Peer: "db1"}), connect.CodeFailedPrecondition},
	} {
		if connect.CodeOf(c.err) != c.code {
			t.Errorf("%s: %v", c.name, c.err)
		}
	}
	if len(runner.slots) != 0 {
		t.Errorf("%d slots are taken by calls that have ended", len(runner.slots))
	}
	for range maxPings {
		runner.slots <- struct{}{}
	}
	if err := ping(&agentpb.PingRequest{Peer: "db1"}); connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Errorf("one call too many: %v", err)
	}
	s.runner = &fakeRunner{alone: true}
	if err := ping(&agentpb.PingRequest{Peer: "db1"}); connect.CodeOf(err) != connect.CodeFailedPrecondition {
		t.Errorf("no agent: %v", err)
	}
}

func TestPathOfAPing(t *testing.T) {
	at := netip.MustParseAddrPort("127.0.0.1:40000")
	for _, c := range []struct {
		name   string
		status resource.PeerStatus
		want   *agentpb.PingResponse
	}{
		{"direct", resource.PeerStatus{Endpoint: at, Path: peer.PathDirect}, &agentpb.PingResponse{Peer: "db1", Endpoint: at.String()}},
		{"a relay by UDP", resource.PeerStatus{BlindRelay: "hub", Path: peer.PathBlindRelay}, &agentpb.PingResponse{Peer: "db1", BlindRelay: "hub"}},
		{"a relay over TCP", resource.PeerStatus{BlindRelay: "hub", Path: peer.PathBlindRelayTCP}, &agentpb.PingResponse{Peer: "db1", BlindRelay: "hub", OverTcp: true}},
	} {
		store := &resource.Store{}
		store.Put(time.Unix(1, 0), resource.PeerStatuses, "key", c.status)
		if got := withPath(store, pingPeer{PeerWords: resource.PeerWords{Key: "key"}, name: "db1"}, &agentpb.PingResponse{}); !proto.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
