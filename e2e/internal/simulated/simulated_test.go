package simulated

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/state"
)

func TestSet(t *testing.T) {
	set := func(numbers ...int) *Set {
		r := new(Set)
		for _, n := range numbers {
			r.Add(n)
		}
		return r
	}
	for _, test := range []struct {
		name         string
		known, all   *Set
		but          int
		lacks, extra bool
	}{
		{"all", set(1, 200), set(1, 200), -1, false, false},
		{"all but itself", set(1), set(1, 200), 200, false, false},
		{"itself as well", set(1, 200), set(1, 200), 200, false, true},
		{"one is missing", set(1), set(1, 200), 1, true, true},
		{"one is gone", set(1, 2, 3), set(1, 3), -1, false, true},
		{"nothing of much", set(), set(500), -1, true, false},
		{"much of nothing", set(500), set(), -1, false, true},
	} {
		if lacks, extra := test.known.Compare(test.all, test.but); lacks != test.lacks || extra != test.extra {
			t.Errorf("%s: lacks %v, extra %v", test.name, lacks, extra)
		}
	}
	r := set(1, 200)
	r.Add(-1)
	r.Remove(-1)
	r.Remove(10_000)
	r.Remove(200)
	if lacks, extra := r.Compare(set(1), -1); lacks || extra {
		t.Error("a machine was not removed")
	}
	r.Clear()
	if lacks, extra := r.Compare(set(), -1); lacks || extra {
		t.Error("a cleared set has machines")
	}
}

func TestCluster(t *testing.T) {
	c, err := NewCluster("http://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 7, 70_000} {
		id, err := c.identity(n)
		if err != nil {
			t.Fatal(err)
		}
		if got := numberOf(id.NodeID); got != n || len(id.NodeID) != 44 {
			t.Errorf("machine %d has the ID %s of %d", n, id.NodeID, got)
		}
	}
	for _, id := range []string{"", "node", "nodex", "machine-1"} {
		if got := numberOf(id); got != -1 {
			t.Errorf("%q is the ID of %d", id, got)
		}
	}
	k := keys{numbers: map[mesh.Key]int{}}
	k.makeUpTo(3)
	if got := k.number(privateKey(2).Public()); got != 2 || k.number(privateKey(3).Public()) != -1 {
		t.Errorf("the key of 2 is that of %d, or that of 3 is known", got)
	}
}

// encoded returns a gRPC message of a watch with affiliates as long as real ones.
func encoded(t *testing.T, deleted, more bool, numbers ...int) []byte {
	t.Helper()
	response := &serverpb.WatchResponse{Deleted: deleted}
	for _, n := range numbers {
		response.Affiliates = append(response.Affiliates, &serverpb.Affiliate{Id: nodeID(n), Data: make([]byte, 300), Endpoints: [][]byte{make([]byte, 32)}})
	}
	wire, err := proto.Marshal(response)
	if err != nil {
		t.Fatal(err)
	}
	if more {
		wire = protowire.AppendVarint(protowire.AppendTag(wire, fieldMore, protowire.VarintType), 1)
	}
	return frame(wire)
}

func TestStream(t *testing.T) {
	many := make([]int, 100)
	for i := range many {
		many[i] = i
	}
	wire := slices.Concat(encoded(t, false, true, many...), encoded(t, false, false), encoded(t, true, false, 5))
	s := newStream(bytes.NewReader(wire))
	for _, want := range []news{{numbers: many, more: true}, {}, {numbers: []int{5}, deleted: true}} {
		got, err := s.next()
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.numbers, want.numbers) || got.deleted != want.deleted || got.more != want.more {
			t.Errorf("read %v, want %v", *got, want)
		}
	}
	if _, err := s.next(); err == nil {
		t.Error("a message after the end")
	}
}

func TestStreamRefuses(t *testing.T) {
	good := encoded(t, false, false, 1, 2)
	long := frame(protowire.AppendBytes(protowire.AppendTag(nil, fieldAffiliates, protowire.BytesType), make([]byte, 2*streamBuffer)))
	compressed := slices.Clone(good)
	compressed[0] = 1
	short := slices.Clone(good)
	short[4]-- // the last field is longer than the message
	for name, wire := range map[string][]byte{
		"an end within a message":  good[:len(good)-1],
		"an end within a head":     good[:3],
		"a compressed message":     compressed,
		"a field beyond the end":   short,
		"an affiliate too long":    long,
		"a field of another kind":  frame([]byte{1<<3 | 5, 1, 2, 3, 4}),
		"a field that has no kind": frame([]byte{0xff}),
	} {
		if _, err := newStream(bytes.NewReader(wire)).next(); err == nil {
			t.Errorf("%s is read", name)
		}
	}
}

func TestKernel(t *testing.T) {
	numbers := &keys{numbers: map[mesh.Key]int{}}
	numbers.makeUpTo(10)
	k := newKernel(host(0), numbers.number)
	peerOf := func(n int) state.Peer {
		return state.Peer{PublicKey: privateKey(n).Public(), Label: "x", Redirect: true}
	}
	plan := state.Plan{state.LinkChange{New: state.Link{Name: "kubespan"}}}
	for n := 1; n < 10; n++ {
		plan = append(plan, state.PeerChange{New: peerOf(n)})
	}
	if r := k.Apply(context.Background(), state.Scope{}, plan); len(r.Done) != 10 {
		t.Errorf("%d changes of 10 were made", len(r.Done))
	}
	all := new(Set)
	for n := range 10 {
		all.Add(n)
	}
	if lacks, extra := k.compare(all, 0); lacks || extra {
		t.Error("not all machines are peers")
	}
	_, peers, _ := k.Device(state.Scope{})
	if len(peers) != 9 || !slices.IsSortedFunc(peers, func(a, b state.Peer) int { return a.PublicKey.Compare(b.PublicKey) }) {
		t.Errorf("%d peers, or not sorted", len(peers))
	}
	for _, p := range peers {
		if p.Label != "" || p.Redirect || time.Since(p.LastHandshake) > time.Minute || p.ReceiveBytes == 0 {
			t.Errorf("a live peer: %+v", p)
		}
	}
	k.Apply(context.Background(), state.Scope{}, state.Plan{state.PeerChange{Old: peerOf(4)}})
	if lacks, _ := k.compare(all, 0); !lacks {
		t.Error("a peer was not deleted")
	}
	k.Apply(context.Background(), state.Scope{}, state.Plan{state.LinkChange{Old: state.Link{Name: "kubespan"}}})
	if live, _ := k.Observe(state.Scope{}); live.Owned() || len(live.Peers) > 0 {
		t.Errorf("after the link is gone: %+v", live)
	}
}

// TestWholeConverges lets an agent work on the kernel until nothing is left to change.
func TestWholeConverges(t *testing.T) {
	c, err := NewCluster("http://127.0.0.1:1") // where nothing answers
	if err != nil {
		t.Fatal(err)
	}
	k := &keys{numbers: map[mesh.Key]int{}}
	k.makeUpTo(1)
	w := newWhole(c, 0, new(Traffic), k).(*whole)
	if err := w.start(); err != nil {
		t.Fatal(err)
	}
	pass, err := w.loop.Diff(t.Context(), nil, nil)
	if err != nil || len(pass.Plan) > 0 {
		t.Errorf("after the first pass: %v is left to change, %v", pass.Plan, err)
	}
	if v := w.view(new(Set)); v.following || v.lacks || v.extra {
		t.Errorf("a machine alone, without a server: %+v", v)
	}
	_ = w.stop(t.Context(), true) // there is no server to leave
	if live, _ := w.kernel.Observe(state.Scope{}); live.Owned() {
		t.Errorf("a machine that has left has %+v", live)
	}
}

func TestTunnelsLive(t *testing.T) {
	k := newKernel(host(0), func(mesh.Key) int { return -1 })
	made := time.Now().Round(0)
	k.tunnels = []tunnel{{since: made}}
	before := k.appendPeers(nil, made)[0]
	later := k.appendPeers(nil, made.Add(130*time.Second))[0]
	if got := later.LastHandshake.Sub(before.LastHandshake); got != handshakeEvery {
		t.Errorf("the next handshake is %v later", got)
	}
	if got := later.ReceiveBytes - before.ReceiveBytes; got != responseBytes+5*keepaliveBytes {
		t.Errorf("%d bytes in 130 seconds, want a handshake and five keepalives", got)
	}
}
