package nat

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/lab"
)

// newInternet makes a lab with a backbone and a server, which are removed with the test.
func newInternet(t *testing.T) (*lab.Lab, *lab.Internet, *lab.Server) {
	t.Helper()
	l, err := lab.New("", harness.Binary(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	in, err := l.NewInternet()
	if err != nil {
		t.Fatal(err)
	}
	server, err := in.AddServer("server")
	if err != nil {
		t.Fatal(err)
	}
	return l, in, server
}

func addPlace(t *testing.T, in *lab.Internet, name string, kind lab.Kind) *lab.Place {
	t.Helper()
	place, err := in.AddPlace(name, kind)
	if err != nil {
		t.Fatal(err)
	}
	return place
}

// behaviour is what RFC 4787 asks of a NAT, as sockets see it.
type behaviour struct {
	// samePort: two destinations see one port (endpoint-independent mapping).
	samePort bool
	// strangers: packets come in from addresses that were never sent to; otherPorts: from other ports
	// of one that was. unasked: also before anything was sent.
	strangers, otherPorts, unasked bool
	// udp: UDP comes out at all.
	udp bool
}

// behaviours are what each kind is to show.
var behaviours = map[lab.Kind]behaviour{
	lab.NoNAT:             {samePort: true, strangers: true, otherPorts: true, unasked: true, udp: true},
	lab.FullCone:          {samePort: true, strangers: true, otherPorts: true, unasked: true, udp: true},
	lab.AddressRestricted: {samePort: true, otherPorts: true, udp: true},
	lab.PortRestricted:    {samePort: true, udp: true},
	lab.PerDestination:    {udp: true},
	lab.DoubleNAT:         {samePort: true, udp: true},
	lab.Hairpin:           {samePort: true, udp: true},
	lab.NoHairpin:         {samePort: true, udp: true},
	lab.UDPBlocked:        {},
	lab.IPv6Only:          {samePort: true, strangers: true, otherPorts: true, unasked: true, udp: true},
	lab.AnswersOnly:       {samePort: true, udp: true},
}

// TestKinds sends plain UDP through the routers of each kind.
func TestKinds(t *testing.T) {
	t.Parallel()
	for _, kind := range lab.Kinds {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			_, in, server := newInternet(t)
			place := addPlace(t, in, "machine", kind)
			if got := observe(t, server, place); got != behaviours[kind] {
				t.Errorf("the NAT is %+v, want %+v", got, behaviours[kind])
			}
		})
	}
}

// observe finds what a kind does with packets.
func observe(t *testing.T, server *lab.Server, place *lab.Place) (b behaviour) {
	t.Helper()
	first, second := server.Address, server.Second
	if place.Kind == lab.IPv6Only {
		first, second = server.IPv6, server.Second6
	}
	machine := listen(t, place.Node, netip.Addr{}, 51820)
	asked, otherPort, stranger := listen(t, server.Node, first, 7000), listen(t, server.Node, first, 7001), listen(t, server.Node, second, 7000)
	if place.Kind == lab.UDPBlocked {
		machine.send(asked.own(), "request")
		reachByTCP(t, server, place)
		text, _ := asked.receive(time.Millisecond)
		b.udp = text != ""
		return b
	}
	guess := expected(place)
	stranger.send(guess, "unasked")
	machine.send(asked.own(), "request")
	mapped := asked.wantFrom("request")
	if mapped != guess && behaviours[place.Kind].samePort {
		t.Errorf("the machine is seen at %v, want %v", mapped, guess)
	}
	b.udp = true
	otherPort.send(mapped, "other port")
	stranger.send(mapped, "stranger")
	asked.send(mapped, "answer")
	others := machine.until("answer")
	b.unasked = slices.Contains(others, "unasked")
	b.otherPorts = slices.Contains(others, "other port")
	b.strangers = slices.Contains(others, "stranger")
	machine.send(stranger.own(), "request")
	b.samePort = stranger.wantFrom("request") == mapped
	return b
}

// expected is where a machine's port 51820 is to be seen, if all see it at one port.
func expected(place *lab.Place) netip.AddrPort {
	address, port := place.Address, uint16(51820)
	if place.Kind != lab.AnswersOnly && len(place.Routers) > 0 {
		address, port = place.Routers[len(place.Routers)-1].Address, lab.MappedPort
	}
	if len(place.Routers) > 1 {
		port = lab.SharedPort(place.Routers[0])
	}
	return netip.AddrPortFrom(address, port)
}

// reachByTCP connects to the server from a place.
func reachByTCP(t *testing.T, server *lab.Server, place *lab.Place) {
	t.Helper()
	var listener net.Listener
	within(t, server.Node, func() (err error) {
		listener, err = net.Listen("tcp", net.JoinHostPort(server.Address.String(), "7000"))
		return err
	})
	defer func() { _ = listener.Close() }()
	within(t, place.Node, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", listener.Addr().String())
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// TestHairpins has two homes behind one carrier.
func TestHairpins(t *testing.T) {
	t.Parallel()
	for kind, want := range map[lab.Kind]bool{lab.Hairpin: true, lab.NoHairpin: false} {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			_, in, server := newInternet(t)
			public := listen(t, server.Node, server.Address, 7000)
			var homes [2]socket
			var seen [2]netip.AddrPort
			for i := range homes {
				place := addPlace(t, in, fmt.Sprintf("home-%d", i+1), kind)
				homes[i] = listen(t, place.Node, netip.Addr{}, 51820)
				homes[i].send(public.own(), "request")
				seen[i] = public.wantFrom("request")
			}
			if seen[0].Addr() != seen[1].Addr() {
				t.Fatalf("the homes are at %v: they do not share a NAT", seen)
			}
			// The first opens a hole, and the second comes through it.
			homes[0].send(seen[1], "hole")
			homes[1].send(seen[0], "through")
			public.send(seen[0], "last")
			if got := slices.Contains(homes[0].until("last"), "through"); got != want {
				t.Errorf("packets between the homes pass: %t, want %t", got, want)
			}
		})
	}
}

// TestHops has datagrams die on the backbone that are to open the sender's NAT only.
func TestHops(t *testing.T) {
	t.Parallel()
	_, in, server := newInternet(t)
	public := listen(t, server.Node, server.Address, 7000)
	for _, kind := range []lab.Kind{lab.NoNAT, lab.PortRestricted, lab.DoubleNAT} {
		machine := listen(t, addPlace(t, in, fmt.Sprintf("machine-%d", kind), kind).Node, netip.Addr{}, 51820)
		machine.sendShort(public.own(), "short", 4)
		machine.send(public.own(), "far")
		public.wantFrom("far")
	}
}

// TestRebootedRouter has a router lose its mappings.
func TestRebootedRouter(t *testing.T) {
	t.Parallel()
	_, in, server := newInternet(t)
	place := addPlace(t, in, "machine", lab.PerDestination)
	public, machine := listen(t, server.Node, server.Address, 7000), listen(t, place.Node, netip.Addr{}, 51820)
	machine.send(public.own(), "before")
	before := public.wantFrom("before")
	if err := place.Routers[0].ForgetMappings(); err != nil {
		t.Fatal(err)
	}
	machine.send(public.own(), "after")
	if after := public.wantFrom("after"); after == before {
		t.Errorf("the machine is at %v as before", after)
	}
	t.Run("and UDP is blocked and unblocked", func(t *testing.T) {
		if err := place.Routers[0].BlockUDP(); err != nil {
			t.Fatal(err)
		}
		machine.send(public.own(), "blocked")
		if err := place.Routers[0].UnblockUDP(); err != nil {
			t.Fatal(err)
		}
		machine.send(public.own(), "open")
		public.wantFrom("open")
	})
}
