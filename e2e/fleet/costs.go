package main

import (
	"fmt"
	"math"
	"strings"
)

// costs are what a machine costs, as measured, and as WireGuard's own numbers say.
type costs struct {
	// affiliateBytes is what an affiliate is on the wire, with its part of what frames it.
	affiliateBytes float64
	// perAffiliate and perMessage are processor times of the server, in seconds: what it takes
	// to deliver an affiliate, and a message beside the affiliates in it.
	perAffiliate, perMessage float64
	// heap is that of an agent for each peer that it knows, in bytes.
	heap float64
	// perChange is the processor time of an agent for a machine that joins or leaves, and atRest
	// that for a peer in a second without news, in seconds.
	perChange, atRest float64
	// connection is the server's memory for each machine, in bytes.
	connection float64
}

// What WireGuard takes for a peer.
const (
	keepaliveSeconds = 25
	handshakeSeconds = 120
	// kernelPeer and userspacePeer are the memory of a peer in the kernel and in wireguard-go, in
	// bytes.
	kernelPeer    = 5 << 10
	userspacePeer = 30 << 10
	// userspacePeers is how many peers wireguard-go takes (device.MaxPeers).
	userspacePeers = 1 << 16
)

const (
	// lingers is how many messages a watch gets in a second at most: under load, news wait for
	// up to a quarter of a second.
	lingers = 4
	// serverAtStart is the memory of a server without machines, in bytes.
	serverAtStart = 37 << 20
	// changesEach is how many changes others see of a machine that is replaced.
	changesEach = 2
)

// costsOf returns the costs that a run shows. Those that it does not show are 0.
func costsOf(r *record) costs {
	n, c := float64(r.Machines), costs{}
	if d := r.phase(storm); d != nil {
		c.affiliateBytes, c.perAffiliate = float64(d.Read)/(n*n), d.Server/(n*n)
		c.connection = math.Max(0, float64(d.Most)-serverAtStart) / n
	}
	if d := r.phase(churn); d != nil && d.Messages > 0 {
		all := n / math.Max(1, n-float64(r.Whole)) // whole machines receive as much
		c.perMessage = math.Max(0, d.Server-c.perAffiliate*float64(d.Affiliates)*all) / (float64(d.Messages) * all)
	}
	c.heap, _ = r.heapPerPeer()
	if d := r.phase(rest); d != nil {
		c.atRest = d.Wholes / d.Lasted / float64(r.Whole) / (n - 1)
		if busy := r.phase(churn); busy != nil {
			news := n * churnRate / 60 * changesEach * churnLasts.Seconds()
			c.perChange = math.Max(0, busy.Wholes/float64(r.Whole)-c.atRest*(n-1)*busy.Lasted) / news
		}
	}
	return c
}

// design is a way to have a number of machines in one mesh.
type design struct {
	name string
	// known is how many others a machine knows, and tunnels how many it has a tunnel to.
	known, tunnels func(machines float64) float64
	// servers is over how many discovery servers the machines are spread.
	servers func(machines float64) float64
}

const (
	// location is how many machines are at a location, with gateways that also know those of all
	// other locations.
	location = 1000
	gateways = 2
	// partners is how many others a machine talks to.
	partners = 200
)

func locations(machines float64) float64 { return math.Ceil(machines / location) }

// inLocations returns the peers of a machine: those of its location, and all gateways.
func inLocations(machines float64) float64 {
	if machines <= location {
		return machines
	}
	return location + gateways*locations(machines)
}

func designs() []design {
	all := func(machines float64) float64 { return machines }
	one := func(float64) float64 { return 1 }
	atMost := func(most float64) func(float64) float64 {
		return func(machines float64) float64 { return math.Min(most, machines) }
	}
	return []design{
		{"full mesh", all, all, one},
		{"locations of 1,000 with two gateways", inLocations, inLocations, locations},
		{"peers on demand, of 200", all, atMost(partners), one},
		{"partial views of 1,000", atMost(location), atMost(location), one},
	}
}

// bill is what a design costs with a number of machines.
type bill struct {
	known, tunnels float64
	// heap, kernel and userspace are memory of a machine, in bytes.
	heap, kernel, userspace float64
	// keepalives and handshakes are those that a machine sends in a second.
	keepalives, handshakes float64
	// joinBytes is what a machine reads to join.
	joinBytes float64
	// changes is how many changes a machine hears of in a second at churnRate, agent is the part
	// of a core that its agent needs for them and at rest.
	changes, agent float64
	// deliveries, bytes and cores are those of a server in a second at churnRate, and memory is
	// a server's, in bytes.
	deliveries, bytes, cores, memory float64
}

func (c costs) bill(d design, machines float64) bill {
	known, tunnels, servers := d.known(machines), d.tunnels(machines), d.servers(machines)
	watching := machines / servers
	b := bill{known: known, tunnels: tunnels, heap: known * c.heap, kernel: tunnels * kernelPeer, userspace: tunnels * userspacePeer,
		keepalives: tunnels / keepaliveSeconds, handshakes: tunnels / handshakeSeconds, joinBytes: known * c.affiliateBytes,
		changes: known * churnRate / 60 * changesEach}
	b.agent = b.changes*c.perChange + tunnels*c.atRest
	b.deliveries = watching * b.changes
	b.bytes = b.deliveries * c.affiliateBytes
	b.cores = b.deliveries*c.perAffiliate + watching*math.Min(lingers, b.changes)*c.perMessage
	b.memory = serverAtStart + watching*c.connection
	return b
}

// aimedFar is the number of machines of the arithmetic.
const aimedFar = 100_000

// tables returns the costs and the arithmetic, in Markdown.
func (c costs) tables() string {
	var b strings.Builder
	row(&b, "what was measured", "")
	row(&b, rule(2)...)
	row(&b, "an affiliate on the wire", number(c.affiliateBytes, 0)+" bytes")
	row(&b, "server, delivering an affiliate", number(1e6*c.perAffiliate, 2)+" µs")
	row(&b, "server, a message beside its affiliates", number(1e6*c.perMessage, 1)+" µs")
	row(&b, "server, memory of a machine in a storm", number(c.connection/1024, 0)+" KiB")
	row(&b, "agent, heap of a peer", number(c.heap, 0)+" bytes")
	row(&b, "agent, for each machine that joins or leaves, where several share a pass", number(1e3*c.perChange, 2)+" ms")
	row(&b, "agent, a peer in a second at rest", number(1e6*c.atRest, 2)+" µs")
	fmt.Fprintf(&b, "\n%s machines, each tenth replaced in a minute:\n\n", grouped(aimedFar))
	c.bills(&b, aimedFar)
	return b.String()
}

// bills writes a table with a column for each design.
func (c costs) bills(b *strings.Builder, machines float64) {
	heads, lines := []string{""}, []struct {
		name string
		of   func(bill) string
	}{
		{"a machine knows", func(b bill) string { return grouped(int64(b.known)) }},
		{"and has tunnels to", func(b bill) string { return grouped(int64(b.tunnels)) }},
		{"heap of its agent, MiB", func(b bill) string { return number(b.heap/mebibyte, 1) }},
		{"WireGuard in the kernel, MiB", func(b bill) string { return number(b.kernel/mebibyte, 1) }},
		{"WireGuard in userspace, MiB", inUserspace},
		{"keepalives a second", func(b bill) string { return number(b.keepalives, 0) }},
		{"handshakes a second", func(b bill) string { return number(b.handshakes, 1) }},
		{"to join it reads, MB", func(b bill) string { return number(b.joinBytes/1e6, 2) }},
		{"changes that it hears of a second", func(b bill) string { return number(b.changes, 1) }},
		{"its agent, of a core", func(b bill) string { return percent(b.agent) }},
		{"deliveries of a server a second", func(b bill) string { return grouped(int64(b.deliveries)) }},
		{"MB of a server a second", func(b bill) string { return number(b.bytes/1e6, 1) }},
		{"cores of a server", func(b bill) string { return number(b.cores, 2) }},
		{"memory of a server, MiB", func(b bill) string { return number(b.memory/mebibyte, 0) }},
	}
	for _, d := range designs() {
		heads = append(heads, d.name)
	}
	row(b, heads...)
	row(b, rule(len(heads))...)
	for _, l := range lines {
		cells := []string{l.name}
		for _, d := range designs() {
			cells = append(cells, l.of(c.bill(d, machines)))
		}
		row(b, cells...)
	}
}

// inUserspace prints the memory of wireguard-go.
func inUserspace(b bill) string {
	text := number(b.userspace/mebibyte, 1)
	if b.tunnels > userspacePeers {
		return text + " (refuses more than 65,536 peers)"
	}
	return text
}
