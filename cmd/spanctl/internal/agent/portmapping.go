package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spanmesh/span/cmd/spanctl/internal/statedir"
	"github.com/spanmesh/span/netlinkapply/gateway"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/portmap"
	"github.com/spanmesh/span/reconciler/when"
	"github.com/spanmesh/span/schema"
)

// portMapper has the router map WireGuard's port. What it has mapped stays when the agent ends, and is
// taken up by the next one.
type portMapper struct {
	// find returns the way to the internet of packets with a firewall mark, and ask asks the router.
	find func(is4 bool, mark uint32) gateway.Route
	ask  func(ctx context.Context, mark uint32, call *portmap.Call) (portmap.Answer, error)
	// report takes the mappings, or why there are none, and save stores them, where they have changed.
	report func([]mesh.PortMapping, []mesh.PortMappingFault)
	save   func(statedir.PortMappings) error
	log    *slog.Logger

	// turns has the last turn of the loop.
	turns lastTurn

	// The fields below belong to run.

	turn   reconciler.Turn
	v4, v6 portmap.Mapper
	// saved is what was stored last, if stored is set.
	saved  []portmap.Held
	stored bool
	// reported and faults are what was reported last.
	reported []mesh.PortMapping
	faults   []mesh.PortMappingFault
}

// newPortMapper returns a mapper for the mesh of a loop, with the mappings of the process before.
func (d *deps) newPortMapper(loop *reconciler.Loop) *portMapper {
	before, err := d.dir.PortMappings()
	if err != nil {
		d.log.Warn("stored port mappings not read", "error", err)
	}
	client := new(gateway.Client)
	return makePortMapper(&portMapper{find: gateway.Find, report: loop.SetPortMappings, save: d.dir.SavePortMappings, log: d.log,
		ask: func(ctx context.Context, mark uint32, call *portmap.Call) (portmap.Answer, error) {
			client.Mark = mark
			return client.Do(ctx, call)
		}}, time.Now(), before)
}

// makePortMapper makes the parts of a mapper that are its own.
func makePortMapper(p *portMapper, now time.Time, before statedir.PortMappings) *portMapper {
	p.turns = newLastTurn()
	nonce := before.Nonce
	if p.stored = nonce != (portmap.Nonce{}); !p.stored {
		_, _ = rand.Read(nonce[:]) // never fails
	}
	p.v4.Nonce, p.v6.Nonce, p.saved = nonce, nonce, before.Held
	for _, h := range before.Held {
		p.of(h.Own.Is4()).Restore(now, h)
	}
	return p
}

func (p *portMapper) of(is4 bool) *portmap.Mapper {
	if is4 {
		return &p.v4
	}
	return &p.v6
}

// run keeps the mappings until ctx ends, and leaves them to the router.
func (p *portMapper) run(ctx context.Context) {
	for {
		var due <-chan time.Time
		if next := p.step(ctx); !next.IsZero() {
			due = time.After(time.Until(next))
		}
		select {
		case <-ctx.Done():
			return
		case p.turn = <-p.turns:
		case <-due:
		}
	}
}

// step asks the router what is due, once for each IP version, and returns when the next step is due;
// zero for not before the next turn.
func (p *portMapper) step(ctx context.Context) (next time.Time) {
	for _, is4 := range []bool{true, false} {
		want, known := p.want(is4)
		if !known {
			continue
		}
		now := time.Now()
		call, due := p.of(is4).Step(now, want)
		if call == nil || call.Kind != portmap.Release {
			p.reportNew(p.held())
		}
		if call != nil || p.stored {
			p.keep(p.held())
		}
		if call != nil {
			p.do(ctx, is4, call)
			due = now
		}
		next = when.Earlier(next, due)
	}
	return next
}

// want returns the mapping that the config asks for. It is not known before a pass has made the mesh:
// what was mapped before stays until then.
func (p *portMapper) want(is4 bool) (w portmap.Want, known bool) {
	config := p.turn.Config
	if config == nil {
		return w, false
	}
	kubespan := config.KubeSpan()
	if p.turn.Down || !kubespan.Enabled || !kubespan.NAT.PortMapping {
		return w, true
	}
	if p.turn.Mesh.Link == "" {
		return w, false
	}
	w = portmap.Want{Port: uint16(p.turn.Mesh.Port), Network: p.turn.NetworkChanges, UPnP: kubespan.NAT.UPnP}
	if route := p.find(is4, kubespan.FirewallMark); p.asks(kubespan, route) {
		w.Gateway, w.Own = route.Gateway, route.Own
	}
	return w, true
}

// sharedNetwork has the addresses between providers' NATs and those of their customers (RFC 6598).
var sharedNetwork = netip.MustParsePrefix("100.64.0.0/10")

// asks reports whether there is a router outside of the mesh, and with IPv4 a NAT in it.
func (p *portMapper) asks(kubespan *schema.KubeSpan, r gateway.Route) bool {
	return r.Gateway.IsValid() && !p.turn.Mesh.Subnet.Contains(r.Gateway.WithZone("")) && mesh.IsOutside(p.turn.Mesh.Subnet, kubespan, r.Own) &&
		(r.Own.Is6() || r.Own.IsPrivate() || sharedNetwork.Contains(r.Own))
}

// do asks the router. Where the agent ends meanwhile, the next one asks again.
func (p *portMapper) do(ctx context.Context, is4 bool, call *portmap.Call) {
	answer, err := p.ask(ctx, p.turn.Config.KubeSpan().FirewallMark, call)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		p.log.Debug("port mapping request failed", "request", call.Kind.String(), "protocol", string(call.Protocol), "router", call.Gateway.String(), "error", err)
	}
	p.of(is4).Done(time.Now(), *call, answer, err)
	p.reportNew(p.held())
	p.keep(p.held())
}

// held returns the mappings that there are.
func (p *portMapper) held() (all []portmap.Held) {
	for _, m := range []*portmap.Mapper{&p.v4, &p.v6} {
		if h := m.Held(); h != nil {
			all = append(all, *h)
		}
	}
	return all
}

// keep stores what has changed: the nonce before the router is asked, since the agent may end before it
// has the answer.
func (p *portMapper) keep(held []portmap.Held) {
	if p.stored && slices.Equal(held, p.saved) {
		return
	}
	p.saved, p.stored = held, true
	if err := p.save(statedir.PortMappings{Nonce: p.v4.Nonce, Held: held}); err != nil {
		p.log.Error("port mappings not written", "error", err)
	}
}

// reportNew reports the mappings, if they have changed.
func (p *portMapper) reportNew(held []portmap.Held) {
	var found []mesh.PortMapping
	for _, h := range held {
		found = append(found, mesh.PortMapping{Endpoint: h.External, Protocol: string(h.Protocol)})
	}
	faults := p.faultsOf(held)
	if slices.Equal(found, p.reported) && slices.Equal(faults, p.faults) {
		return
	}
	for _, m := range p.reported {
		if !slices.Contains(found, m) {
			p.log.Info("port mapping ended", "endpoint", m.Endpoint.String(), "protocol", m.Protocol)
		}
	}
	for _, m := range found {
		if !slices.Contains(p.reported, m) {
			p.log.Info("port mapped by the router", "endpoint", m.Endpoint.String(), "protocol", m.Protocol)
		}
	}
	p.reported, p.faults = found, faults
	p.report(found, faults)
}

// faultsOf returns why the routers that were asked map nothing.
func (p *portMapper) faultsOf(held []portmap.Held) (faults []mesh.PortMappingFault) {
	for _, m := range []*portmap.Mapper{&p.v4, &p.v6} {
		router, tried := m.Faults()
		if len(tried) > 0 && !slices.ContainsFunc(held, func(h portmap.Held) bool { return h.Gateway == router }) {
			faults = append(faults, faultOf(router, tried))
		}
	}
	return faults
}

// maxFaultText bounds the text of a router's fault, in bytes: a router may have chosen a part of it.
const maxFaultText = 300

// faultOf returns why a router maps nothing. That it refuses IPv6 is as with most routers: their firewall
// is opened by hand.
func faultOf(router netip.Addr, tried []portmap.Fault) mesh.PortMappingFault {
	f := mesh.PortMappingFault{Router: router}
	var texts []string
	for _, t := range tried {
		f.Refused = f.Refused || router.Is4() && !errors.Is(t.Err, portmap.ErrNoAnswer) && !errors.Is(t.Err, portmap.ErrUnsupported)
		texts = append(texts, string(t.Protocol)+": "+t.Err.Error())
	}
	if f.Text = strings.Join(texts, "; "); len(f.Text) > maxFaultText {
		f.Text = strings.ToValidUTF8(f.Text[:maxFaultText], "") + " ..."
	}
	return f
}

// releasePortMappings has routers delete what they map to a machine whose mesh is taken down without an
// agent.
func (d *deps) releasePortMappings(ctx context.Context, mark uint32) {
	before, err := d.dir.PortMappings()
	if err != nil || len(before.Held) == 0 {
		return
	}
	client := gateway.Client{Mark: mark}
	for _, h := range before.Held {
		call := &portmap.Call{Kind: portmap.Release, Protocol: h.Protocol, Gateway: h.Gateway, Own: h.Own, Port: h.Port, External: h.External, Nonce: before.Nonce}
		if _, err := client.Do(ctx, call); err != nil {
			d.log.Warn("port mapping not released; it ends by itself", "endpoint", h.External.String(), "error", err)
		}
	}
	if err := d.dir.SavePortMappings(statedir.PortMappings{Nonce: before.Nonce}); err != nil {
		d.log.Error("port mappings not written", "error", err)
	}
}
