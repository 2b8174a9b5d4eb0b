package cli

import (
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/spanmesh/span/discoveryhttp/server"
	"github.com/spanmesh/span/relay"
	"github.com/spanmesh/span/relay/front"
	"github.com/spanmesh/span/relay/stream"
)

// The server does not know the relay's module.
var _ server.Relay = (*front.Front)(nil)

func TestPromisesOfTheRelay(t *testing.T) {
	if server.RelayPath != stream.Path {
		t.Errorf("the server has %s, machines ask for %s", server.RelayPath, stream.Path)
	}
	if server.RelayLease != relay.JoinFor {
		t.Errorf("the server promises %v, the relay keeps %v", server.RelayLease, relay.JoinFor)
	}
}

// serveWith returns the options of a server with flags.
func serveWith(t *testing.T, args ...string) *serveOptions {
	t.Helper()
	f := &serveOptions{globals: &globals{stateDir: t.TempDir()}, limits: server.DefaultLimits()}
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	f.flags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestAddressOfARelay(t *testing.T) {
	at := netip.MustParseAddrPort("[::]:51821")
	for address, want := range map[string]string{
		"":                       ":51821",
		"relay.example.com":      "relay.example.com:51821",
		"relay.example.com:3478": "relay.example.com:3478",
		"192.0.2.1":              "192.0.2.1:51821",
		"2001:db8::1":            "[2001:db8::1]:51821",
		"[2001:db8::1]:3478":     "[2001:db8::1]:3478",
	} {
		o := relayOptions{listen: ":51821", address: address}
		if got := o.told(at); got != want {
			t.Errorf("--relay-address %q: machines are told %q, want %q", address, got, want)
		}
	}
}

func TestFlagsOfARelay(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--relay-address", "relay.example.com"}, "--relay-address goes with --relay"},
		{[]string{"--relay", ":1", "--relay-address", ":3478"}, "--relay-address is"},
		{[]string{"--relay", ":1", "--max-relay-machines", "0"}, "--max-relay-machines is 0"},
		{[]string{"--relay", ":1", "--max-relay-streams", "-1"}, "--max-relay-streams is -1"},
	} {
		if _, err := serveWith(t, c.args...).options(slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.args, err, c.want)
		}
	}
}

func TestMemoryOfARelay(t *testing.T) {
	discard := slog.New(slog.DiscardHandler)
	without, with := serveWith(t, "--max-memory", "256MiB"), serveWith(t, "--max-memory", "256MiB", "--relay", ":1", "--max-relay-streams-per-address", "7")
	for _, f := range []*serveOptions{without, with} {
		if err := f.fitMemory(discard); err != nil {
			t.Fatal(err)
		}
	}
	if most := with.relay.limits.Memory(); most > 64<<20 || with.limits.Memory()+most > 256<<20 || with.limits.Memory() >= without.limits.Memory() {
		t.Errorf("%d bytes and %d of the relay", with.limits.Memory(), most)
	}
	if with.relay.limits.StreamsPerAddress != 7 {
		t.Errorf("--max-relay-streams-per-address 7 is %d", with.relay.limits.StreamsPerAddress)
	}
}

// TestPortOfARelay has STUN answered where the relay has the port of --listen.
func TestPortOfARelay(t *testing.T) {
	f := serveWith(t, "--listen", "127.0.0.1:0", "--relay", "127.0.0.1:0")
	discard := slog.New(slog.DiscardHandler)
	apart, err := f.open(t.Context(), false, discard)
	if err != nil {
		t.Fatal(err)
	}
	port := apart.listeners[0].Addr().(*net.TCPAddr).String()
	if len(apart.stun) != 1 || len(apart.relay) != 1 {
		t.Errorf("%d sockets of STUN and %d of the relay", len(apart.stun), len(apart.relay))
	}
	if err := apart.close(); err != nil {
		t.Fatal(err)
	}
	same := serveWith(t, "--listen", port, "--relay", port)
	shared, err := same.open(t.Context(), false, discard)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = shared.close() }()
	var o server.Options
	if err := same.answer(&o, shared, discard); err != nil {
		t.Fatal(err)
	}
	if len(shared.stun) != 0 || o.Relay == nil || o.Outside == nil {
		t.Errorf("%d sockets of STUN, relay %v, STUN %v", len(shared.stun), o.Relay, o.Outside)
	}
	taken := serveWith(t, "--listen", "127.0.0.1:0", "--relay", port)
	if _, err := taken.open(t.Context(), false, discard); err == nil || !strings.Contains(err.Error(), "listen on --relay "+port) {
		t.Errorf("a port that is taken: %v", err)
	}
}
