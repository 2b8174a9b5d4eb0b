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

	"github.com/spanmesh/span/reconciler/state"
)

// BenchmarkPeers measures the kernel's part of a pass, and wg(8) that configures the same peers
// on the same device.
func BenchmarkPeers(b *testing.B) {
	for _, n := range []int{100, 1000} {
		k := open(b)
		in := inputs(b, n)
		// Without keepalives no handshake runs beside the measurement.
		in.KubeSpan.PersistentKeepalive = 0
		full, none := state.Build(in), state.Build(inputs(b, 0))
		in.Peers[n/2].AllowedIPs = in.Peers[n/2].AllowedIPs[:1]
		changed := state.Build(in)
		none.Link.PrivateKey, full.Link.PrivateKey, changed.Link.PrivateKey = in.Identity.PrivateKey, in.Identity.PrivateKey, in.Identity.PrivateKey
		none.Addresses = full.Addresses
		apply := func(b *testing.B, desired state.State) {
			b.Helper()
			live, err := k.Observe(scopeOf(b))
			if err != nil {
				b.Fatal(err)
			}
			if r := k.Apply(b.Context(), scopeOf(b), state.Diff(desired, live)); r.Err != nil {
				b.Fatal(r.Err)
			}
		}
		alternate := func(b *testing.B, first, second state.State) {
			b.Helper()
			apply(b, first)
			for b.Loop() {
				apply(b, second)
				b.StopTimer()
				apply(b, first)
				b.StartTimer()
			}
		}
		name := func(what string) string { return fmt.Sprintf("%s/peers=%d", what, n) }
		b.Run(name("spanctl=first"), func(b *testing.B) { alternate(b, none, full) })
		apply(b, full)
		b.Run(name("spanctl=unchanged"), func(b *testing.B) {
			for b.Loop() {
				apply(b, full)
			}
		})
		b.Run(name("spanctl=one-changed"), func(b *testing.B) { alternate(b, full, changed) })
		b.Run(name("spanctl=read-peers"), func(b *testing.B) {
			for b.Loop() {
				if _, peers, err := k.Device(scopeOf(b)); err != nil || len(peers) != n {
					b.Fatal(len(peers), err)
				}
			}
		})
		fullFile := wgConfig(b, full)
		syncconf(b, fullFile)
		b.Run(name("wg-syncconf=unchanged"), func(b *testing.B) {
			for b.Loop() {
				syncconf(b, fullFile)
			}
		})
		// Only the peers, which both programs configure. The programs alternate, since a userspace
		// process gets faster with each turn: it has its memory already.
		b.Run(name("first-of-peers"), func(b *testing.B) {
			peers := slices.DeleteFunc(state.Diff(full, none), func(c state.Change) bool {
				_, isPeer := c.(state.PeerChange)
				return !isPeer
			})
			var ours, theirs time.Duration
			turn := func(taken *time.Duration, do func()) {
				apply(b, none)
				runtime.GC() // the garbage of apply does not count
				start := time.Now()
				do()
				*taken += time.Since(start)
			}
			first := []func(){
				func() {
					turn(&ours, func() {
						if r := k.Apply(b.Context(), scopeOf(b), peers); r.Err != nil {
							b.Fatal(r.Err)
						}
					})
				},
				func() { turn(&theirs, func() { syncconf(b, fullFile) }) },
			}
			for b.Loop() {
				for _, do := range first {
					do()
				}
				slices.Reverse(first)
			}
			b.ReportMetric(float64(ours.Milliseconds())/float64(b.N), "spanctl-ms")
			b.ReportMetric(float64(theirs.Milliseconds())/float64(b.N), "wg-syncconf-ms")
		})
		apply(b, state.State{})
	}
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
