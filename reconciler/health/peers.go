package health

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
)

const (
	// newFor is how long nothing is said about a peer that has joined: the other machine learns
	// of this one, and each endpoint has its trial.
	newFor = 30 * time.Second
	// minCalls is how many handshake initiations show that a peer does not hear the answers. Two
	// come where the initiations of both sides cross.
	minCalls = 3
	// callsLast is how long ago the last may be: a peer that tries several endpoints calls at
	// this one once a round.
	callsLast = time.Minute
	// together is how far apart the last packets of peers may be that fell silent for one cause.
	// Those at rest send a packet in 25 seconds, and answer an echo in 30.
	together = 35 * time.Second
	// togetherAtRest is the same where peers at rest send nothing.
	togetherAtRest = 3 * time.Minute
	// flapDowns and flapWindow are how often a peer must have gone down in what time to flap.
	flapDowns, flapWindow = 5, 10 * time.Minute
	// listedEndpoints is how many endpoints a cause lists.
	listedEndpoints = 3
	// listedNames is how many peers a remedy names.
	listedNames = 2
)

// Peers is what is known of the peers of the mesh.
type Peers struct {
	// Up is the number of those that are reached, directly or through a relay, and Blind that of those
	// whose traffic a blind relay carries.
	Up, Blind int
	// Port is the UDP port of this machine, Announced are the endpoints that it publishes.
	Port      int
	Announced []netip.AddrPort
	// AtRest is set where WireGuard sends nothing to a peer that nobody sends to.
	AtRest bool
	// Notable are the peers that are not up, are relayed, lossy, or went down often, sorted by key.
	Notable []Peer
	// Link is the name of the mesh's link, Filtered the peers whose echoes this machine's firewall
	// keeps out of it.
	Link     string
	Filtered []string
}

// Peer is what is known of a peer.
type Peer struct {
	// Name is its hostname, or its key.
	Name string
	// Up is set while packets pass directly, Relay is the name of the peer that carries its traffic.
	Up    bool
	Relay string
	// Endpoints are those that are tried.
	Endpoints []netip.AddrPort
	// OwnKey is set where a preshared key of its own replaces the cluster secret.
	OwnKey bool
	// FirstSeen is when it was first seen.
	FirstSeen time.Time
	// WasUp is set once it was up. HeardAt is when something came from it: zero if an earlier
	// process was the last that heard it; LastUp is when it was up, as far as is known.
	WasUp           bool
	HeardAt, LastUp time.Time
	// Contact is what has passed since it is not up.
	Contact peer.Contact
	// Downs are the last times at which it went down, the latest last.
	Downs []time.Time
	// Lossy is set while many echoes to the peer, which is up, have no answer; Loss is how many percent.
	Lossy bool
	Loss  int
}

// Notable reports whether something may have to be said about a peer.
func Notable(c *peer.Connection) bool {
	return !c.IsUp() || c.Status.Lossy || len(c.Status.Downs) >= flapDowns
}

// PeerOf returns what is known of a peer.
func PeerOf(name, relay string, c *peer.Connection, endpoints []netip.AddrPort, ownKey bool) Peer {
	s := &c.Status
	p := Peer{Name: name, Up: c.IsUp(), Relay: relay, Endpoints: endpoints, OwnKey: ownKey, FirstSeen: s.FirstSeen.Time(),
		WasUp: !s.UpSince.IsZero() || !s.LastHandshake.IsZero(), HeardAt: s.HeardAt.Time(), LastUp: s.LastUp.Time(), Contact: s.Contact, Downs: s.Downs,
		Lossy: s.Lossy, Loss: s.RecentLoss()}
	if s.UpSince.IsZero() {
		p.LastUp = s.LastHandshake
	}
	return p
}

// calls reports whether the peer goes on calling this machine, which answers in vain.
func (p *Peer) calls(now time.Time) bool {
	return p.Contact.Calls >= minCalls && now.Sub(p.Contact.LastCall) < callsLast
}

// called reports whether anything came from the peer a short time ago.
func (p *Peer) called(now time.Time) bool {
	return p.Contact.Calls > 0 && now.Sub(p.Contact.LastCall) < callsLast
}

// silent reports whether the peer should have answered. One without endpoints is never called,
// and one at rest neither.
func (p *Peer) silent(now time.Time, atRest bool) bool {
	return p.Contact.Exhausted && len(p.Endpoints) > 0 && now.Sub(p.FirstSeen) >= newFor &&
		!p.called(now) && (!atRest || p.Contact.SentBytes > 0)
}

// silentSince is when something came last from a peer that was up.
func (p *Peer) silentSince() time.Time {
	if p.HeardAt.IsZero() {
		return p.LastUp
	}
	return p.HeardAt
}

// judgePeers finds the conditions of the connections to the peers.
func judgePeers(now time.Time, s *Snapshot) []condition.Condition {
	peers := &s.Peers
	found := judgePackets(now, peers)
	var silent, deaf []*Peer
	here := s.mapping()
	if s.Outside.IsMapped() {
		here = mesh.Mapping{} // all peers have a port to call
	}
	heard, others := peers.Up > 0, false
	for i := range peers.Notable {
		p := &peers.Notable[i]
		heard = heard || p.called(now)
		switch {
		case p.Relay != "":
			found = append(found, relayed(p))
		case p.Up:
		case p.calls(now):
			deaf = append(deaf, p)
			found = append(found, oneWay(p))
		case p.silent(now, peers.AtRest):
			silent = append(silent, p)
		default:
			others = true
		}
	}
	switch {
	case !heard && oneCause(silent, peers.AtRest):
		found = append(found, blocked(silent, peers.Port))
	case !others && len(silent) == 0 && allDeaf(deaf, peers.Up):
		found = append(found, unheard(deaf, peers.Port))
	}
	for _, p := range silent {
		found = append(found, silence(p, peers, here))
	}
	return found
}

// allDeaf reports whether peers that do not hear the answers have one cause at this machine: none is
// up, and they are several.
func allDeaf(deaf []*Peer, up int) bool { return up == 0 && len(deaf) > 1 }

// silence returns the condition of a peer that is silent. Here is how NATs map this machine's port.
func silence(p *Peer, peers *Peers, here mesh.Mapping) condition.Condition {
	there := mesh.PeerMapping(p.Endpoints)
	switch {
	case p.WasUp:
		return down(p)
	case isSymmetric(p, peers, here, there):
		return symmetric(p, peers, here, there)
	default:
		return unreachable(p, peers)
	}
}

// oneCause reports whether the silence of all peers has a cause at this machine rather than at
// each of them. None of them was up, or several were, until the same time: machines that are
// switched off one after another are heard until then.
func oneCause(silent []*Peer, atRest bool) bool {
	within := together
	if atRest {
		within = togetherAtRest
	}
	wereUp, last := 0, time.Time{}
	for _, p := range silent {
		if p.WasUp {
			wereUp++
		}
		if p.WasUp && p.HeardAt.After(last) {
			last = p.HeardAt
		}
	}
	if wereUp == 0 || last.IsZero() {
		return len(silent) > 0 && wereUp != 1
	}
	atOnce := 0
	for _, p := range silent {
		if p.WasUp && !p.HeardAt.IsZero() && last.Sub(p.HeardAt) <= within {
			atOnce++
		}
	}
	return atOnce > 1
}

// lacking returns how many peers should be up and are not. A peer without endpoints calls when it
// likes, and where nobody sends to a peer at rest, nothing is amiss. One that has joined since
// this machine settled may take its time.
func (p *Peers) lacking(now time.Time, settled bool) (n int) {
	for i := range p.Notable {
		x := &p.Notable[i]
		late := x.WasUp || !settled || now.Sub(x.FirstSeen) >= newFor
		if !x.Up && x.Relay == "" && len(x.Endpoints) > 0 && (!p.AtRest || x.Contact.SentBytes > 0) && late {
			n++
		}
	}
	return n
}

// blocked returns the condition of a machine that hears no peer.
func blocked(silent []*Peer, port int) condition.Condition {
	c := condition.Condition{Code: condition.UDPBlocked, Remedy: fmt.Sprintf("open UDP %d here and on the router", port)}
	initiations, sent := 0, int64(0)
	var since time.Time
	for _, p := range silent {
		initiations, sent = initiations+p.Contact.Initiations, sent+p.Contact.SentBytes
		if at := p.silentSince(); p.WasUp && at.After(since) {
			since = at
		}
	}
	to := fmt.Sprintf("%d peers", len(silent))
	if len(silent) == 1 {
		// It may be the only other machine that is at fault.
		to = silent[0].Name + ", the only peer"
		c.Remedy += fmt.Sprintf("; check that %s runs and takes UDP %s", silent[0].Name, ports(silent[0].Endpoints))
	} else if len(silent) <= listedNames {
		// They may all have been switched off at once.
		names := make([]string, len(silent))
		for i, p := range silent {
			names[i] = p.Name
		}
		slices.Sort(names)
		c.Remedy += "; check that " + strings.Join(names, " and ") + " run"
	}
	c.Cause = attempts(initiations, sent) + " to " + to + ", nothing came"
	if !since.IsZero() {
		c.Cause += " since " + clock(since)
	}
	if sent == 0 {
		c.Remedy = fmt.Sprintf("check the routes and the firewall here: nothing leaves from UDP %d", port)
	}
	return c
}

// unheard returns the condition of a machine that all peers call and that none of them hears.
func unheard(deaf []*Peer, port int) condition.Condition {
	calls := 0
	for _, p := range deaf {
		calls += p.Contact.Calls
	}
	return condition.Condition{Code: condition.UDPBlocked,
		Cause:  fmt.Sprintf("all %d peers call (%s handshakes came), and none hears the answers", len(deaf), count(calls)),
		Remedy: fmt.Sprintf("let the firewall here and the router pass UDP that leaves from port %d", port)}
}

// unreachable returns the condition of a peer that was never reached.
func unreachable(p *Peer, peers *Peers) condition.Condition {
	c := condition.Condition{Code: condition.PeerUnreachable, Subject: p.Name, Remedy: fmt.Sprintf("open UDP %s at %s", ports(p.Endpoints), p.Name)}
	count := fmt.Sprintf("%d endpoints", len(p.Endpoints))
	if len(p.Endpoints) == 1 {
		count = "1 endpoint"
	}
	c.Cause = fmt.Sprintf("%s to %s of %s (%s), nothing came", attempts(p.Contact.Initiations, p.Contact.SentBytes), count, p.Name, endpoints(p.Endpoints))
	switch {
	case p.Contact.SentBytes == 0:
		c.Remedy = fmt.Sprintf("check the routes and the firewall here to the endpoints of %s", p.Name)
	case peers.Up == 0:
		c.Remedy += ", or here"
	}
	if peers.Up > 0 {
		c.Cause += "; others answer"
	}
	return c
}

// down returns the condition of a peer that was up.
func down(p *Peer) condition.Condition {
	c := condition.Condition{Code: condition.PeerDown, Subject: p.Name, Cause: "silent since " + clock(p.silentSince()),
		Remedy: fmt.Sprintf("check that %s runs and has its network", p.Name)}
	if p.Contact.Initiations > 0 {
		c.Cause += "; " + attempts(p.Contact.Initiations, p.Contact.SentBytes) + " since"
	}
	return c
}

func oneWay(p *Peer) condition.Condition {
	c := condition.Condition{Code: condition.OneWayTraffic, Subject: p.Name,
		Cause:  fmt.Sprintf("%s calls (%s handshakes came), and does not hear the answers", p.Name, count(p.Contact.Calls)),
		Remedy: fmt.Sprintf("let the firewall of %s take UDP from here, and the firewall and the routes here pass it", p.Name)}
	if p.Contact.SentBytes == 0 {
		c.Cause += "; nothing leaves for it"
		c.Remedy = fmt.Sprintf("check the firewall and the routes here to the endpoints of %s: %s", p.Name, endpoints(p.Endpoints))
	}
	if p.OwnKey {
		c.Remedy += ", or give both the same presharedKey"
	}
	return c
}

func relayed(p *Peer) condition.Condition {
	return condition.Condition{Code: condition.Relayed, Subject: p.Name,
		Cause:  fmt.Sprintf("no endpoint of %s answers; its traffic goes through %s", p.Name, p.Relay),
		Remedy: fmt.Sprintf("none; for a direct path, open a UDP port at %s or here", p.Name)}
}

// flapping returns the condition of a peer that went down often.
func flapping(now time.Time, p *Peer) (condition.Condition, bool) {
	if len(p.Downs) < flapDowns {
		return condition.Condition{}, false
	}
	recent := p.Downs[len(p.Downs)-flapDowns:]
	if now.Sub(recent[0]) >= flapWindow {
		return condition.Condition{}, false
	}
	return condition.Condition{Code: condition.PeerFlapping, Subject: p.Name,
		Cause:  fmt.Sprintf("went down %d times since %s, the last time at %s", flapDowns, clock(recent[0]), clock(recent[flapDowns-1])),
		Remedy: fmt.Sprintf("check the network between %s and this machine for loss, and whether another machine has the endpoint of %s", p.Name, p.Name)}, true
}

// attempts says what was sent in vain.
func attempts(initiations int, bytes int64) string {
	switch {
	case initiations == 1:
		return "1 handshake sent"
	case initiations > 1:
		return count(initiations) + " handshakes sent"
	case bytes > 0:
		return "packets sent"
	default:
		return "nothing could be sent"
	}
}

// count returns a number to two digits: what counts every few seconds reads the same for longer.
func count(n int) string {
	unit := 1
	for n/unit >= 100 {
		unit *= 10
	}
	if unit == 1 {
		return strconv.Itoa(n)
	}
	return "over " + strconv.Itoa(n/unit*unit)
}

// clock formats a time: all in conditions are in UTC.
func clock(at time.Time) string { return at.UTC().Format(time.RFC3339) }

// ports returns the ports of endpoints.
func ports(all []netip.AddrPort) string {
	var list []string
	for _, e := range all {
		if text := strconv.Itoa(int(e.Port())); !slices.Contains(list, text) {
			list = append(list, text)
		}
	}
	return shorten(list)
}

func endpoints(all []netip.AddrPort) string {
	list := make([]string, len(all))
	for i, e := range all {
		list[i] = e.String()
	}
	return shorten(list)
}

func shorten(list []string) string {
	if len(list) > listedEndpoints {
		list = append(slices.Clone(list[:listedEndpoints]), "…")
	}
	return strings.Join(list, ", ")
}
