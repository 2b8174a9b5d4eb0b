package netlinkapply_test

import (
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/netlinkapply"
	"github.com/spanmesh/span/reconciler/state"
)

// peersBench is a mesh whose peers spanctl and wg(8) configure in turns on one device.
type peersBench struct {
	k     *netlinkapply.Kernel
	scope state.Scope
	peers int
	// none has no peers, full all, and changed one network less.
	none, full, changed state.State
	// file is the configuration of full for wg(8).
	file string
}

func newPeersBench(b *testing.B, n int) *peersBench {
	b.Helper()
	in := inputs(b, n)
	// Without keepalives no handshake runs beside the measurement.
	in.KubeSpan.PersistentKeepalive = 0
	of := &peersBench{k: open(b), scope: state.ScopeOf(&in.KubeSpan), peers: n, none: state.Build(inputs(b, 0)), full: state.Build(in)}
	in.Peers[n/2].AllowedIPs = in.Peers[n/2].AllowedIPs[:1]
	of.changed = state.Build(in)
	of.none.Link.PrivateKey, of.none.Addresses = in.Identity.PrivateKey, of.full.Addresses
	of.file = wgConfig(b, of.full)
	return of
}

func (of *peersBench) observe(b *testing.B) state.State {
	b.Helper()
	live, err := of.k.Observe(of.scope)
	if err != nil {
		b.Fatal(err)
	}
	return live
}

func (of *peersBench) apply(b *testing.B, desired state.State) {
	b.Helper()
	if r := of.k.Apply(b.Context(), of.scope, state.Diff(desired, of.observe(b))); r.Err != nil {
		b.Fatal(r.Err)
	}
}

// alternate measures how long it takes from the first state to the second.
func (of *peersBench) alternate(b *testing.B, first, second state.State) {
	b.Helper()
	of.apply(b, first)
	b.ReportAllocs()
	for b.Loop() {
		of.apply(b, second)
		b.StopTimer()
		of.apply(b, first)
		of.observe(b) // what the change of the tables costs the next reading does not count
		b.StartTimer()
	}
}

// BenchmarkPeers measures the kernel's part of a pass, and wg(8) that configures the same peers
// on the same device.
func BenchmarkPeers(b *testing.B) {
	for _, n := range []int{100, 1000} {
		of := newPeersBench(b, n)
		name := func(what string) string { return fmt.Sprintf("%s/peers=%d", what, n) }
		b.Run(name("spanctl=first"), func(b *testing.B) { of.alternate(b, of.none, of.full) })
		of.apply(b, of.full)
		b.Run(name("spanctl=unchanged"), func(b *testing.B) {
			of.observe(b)
			b.ReportAllocs()
			for b.Loop() {
				of.apply(b, of.full)
			}
		})
		b.Run(name("spanctl=one-changed"), func(b *testing.B) { of.alternate(b, of.full, of.changed) })
		b.Run(name("spanctl=read-peers"), of.readPeers)
		syncconf(b, of.file)
		b.Run(name("wg-syncconf=unchanged"), func(b *testing.B) {
			for b.Loop() {
				syncconf(b, of.file)
			}
		})
		b.Run(name("targets"), of.targets)
		b.Run(name("first-of-peers"), of.firstOfPeers)
		of.apply(b, state.State{})
	}
}

func (of *peersBench) readPeers(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, peers, err := of.k.Device(of.scope); err != nil || len(peers) != of.peers {
			b.Fatal(len(peers), err)
		}
	}
}

// targets reports ratios to `wg syncconf` of what is there already: of a pass that changes nothing,
// at most 0.5, and of what one changed peer takes beyond such a pass, at most 0.2. All take turns,
// and the medians count: other programs disturb all alike.
func (of *peersBench) targets(b *testing.B) {
	of.apply(b, of.full)
	var unchanged, changed, theirs []float64
	turn := func(taken *[]float64, do func()) {
		of.observe(b) // what was changed before is read
		start := time.Now()
		do()
		*taken = append(*taken, time.Since(start).Seconds())
	}
	turns := []func(){
		func() { turn(&unchanged, func() { of.apply(b, of.full) }) },
		func() { turn(&theirs, func() { syncconf(b, of.file) }) },
		func() {
			turn(&changed, func() { of.apply(b, of.changed) })
			of.apply(b, of.full)
		},
	}
	for b.Loop() {
		for _, do := range turns {
			do()
		}
		slices.Reverse(turns)
	}
	reading, sync := median(unchanged), median(theirs)
	b.ReportMetric(reading/sync, "unchanged/syncconf")
	b.ReportMetric((median(changed)-reading)/sync, "one-changed/syncconf")
	b.ReportMetric(0, "ns/op") // is that of all turns
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

// firstOfPeers compares the first configuration of nothing but the peers, which both programs
// configure; the ratio is to be at most 1. They alternate, since a userspace process gets faster with
// each turn: it has its memory already.
func (of *peersBench) firstOfPeers(b *testing.B) {
	peers := slices.DeleteFunc(state.Diff(of.full, of.none), func(c state.Change) bool {
		_, isPeer := c.(state.PeerChange)
		return !isPeer
	})
	var ours, theirs []float64
	turn := func(taken *[]float64, do func()) {
		of.apply(b, of.none)
		runtime.GC() // the garbage of apply does not count
		start := time.Now()
		do()
		*taken = append(*taken, time.Since(start).Seconds())
	}
	turns := []func(){
		func() {
			turn(&ours, func() {
				if r := of.k.Apply(b.Context(), of.scope, peers); r.Err != nil {
					b.Fatal(r.Err)
				}
			})
		},
		func() { turn(&theirs, func() { syncconf(b, of.file) }) },
	}
	for b.Loop() {
		for _, do := range turns {
			do()
		}
		slices.Reverse(turns)
	}
	b.ReportMetric(1000*median(ours), "spanctl-ms")
	b.ReportMetric(1000*median(theirs), "wg-syncconf-ms")
	b.ReportMetric(median(ours)/median(theirs), "first/syncconf")
}

func syncconf(b *testing.B, file string) {
	b.Helper()
	if out, err := exec.CommandContext(b.Context(), "wg", "syncconf", "kubespan", file).CombinedOutput(); err != nil {
		b.Fatalf("wg syncconf: %v: %s", err, out)
	}
}

// wgConfig writes the configuration of the device for wg(8) to a file.
func wgConfig(b *testing.B, s state.State) string {
	b.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, "[Interface]\nPrivateKey = %s\nListenPort = %d\nFwMark = %d\n", s.Link.PrivateKey.Reveal(), s.Link.ListenPort, s.Link.FirewallMark)
	for _, p := range s.Peers {
		psk := p.PresharedKey.Bytes()
		fmt.Fprintf(&text, "[Peer]\nPublicKey = %s\nPresharedKey = %s\nEndpoint = %s\nAllowedIPs = ",
			p.PublicKey, base64.StdEncoding.EncodeToString(psk[:]), p.Endpoint)
		for i, prefix := range p.AllowedIPs {
			if i > 0 {
				text.WriteString(", ")
			}
			text.WriteString(prefix.String())
		}
		text.WriteString("\n")
	}
	path := filepath.Join(b.TempDir(), "wg.conf")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	return path
}
