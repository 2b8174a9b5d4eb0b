package doctor

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/spanmesh/span/reconciler/human"
)

const (
	// maxPaths is how many peers' candidates are listed, and maxTried how many candidates of each.
	maxPaths, maxTried = 8, 6
)

// Path is what probes have shown of the ways to a peer. Its names are those of the resource.
type Path struct {
	// Label is the peer's name, Endpoint where it answers probes; "" for nowhere.
	Label    string `json:"label"`
	Endpoint string `json:"endpoint"`
	// Punched is set where the NATs of both ends had to be opened for it.
	Punched bool `json:"punched"`
	// Why is why there is no path; "" if there is one. NextRound is when it is looked for next; zero for
	// not awaited.
	Why        string      `json:"why"`
	NextRound  time.Time   `json:"nextRound"`
	Candidates []Candidate `json:"candidates"`
}

// Candidate is an endpoint that may lead to a peer.
type Candidate struct {
	Endpoint string `json:"endpoint"`
	// Outcome is what became of it, Why why it was not tried.
	Outcome string `json:"outcome"`
	Why     string `json:"why"`
	// Learnt is set where the peer has not published it.
	Learnt bool `json:"learnt"`
	// TriedAt is when the last probe was sent; zero for never. RTT is "" without an answer.
	TriedAt time.Time `json:"triedAt"`
	RTT     string    `json:"rtt"`
}

// asked reports whether an agent has answered.
func (f *Facts) asked() bool { return f.Agent != nil && f.Silent.Code == "" && !f.SocketDenied }

// mappings judges the ports that the router maps.
func mappings(f *Facts) (found []Finding) {
	if !f.asked() || f.Config == nil {
		return nil
	}
	if f.Config.NoPortMapping {
		return one(Skip, "mapping", "nat.portMapping is false: no router is asked", "")
	}
	for _, m := range f.Router {
		remedy := ""
		if f.BehindNAT[m] {
			remedy = "make the router a bridge, or forward a UDP port there to " + m.Endpoint.String()
		}
		found = append(found, Finding{OK, "mapping", f.routerText(m), remedy})
	}
	for _, r := range f.RouterFaults {
		if r.Refused {
			found = append(found, Finding{OK, "mapping", fmt.Sprintf("the router %v refuses to map UDP %d: %s", r.Router, f.Config.ListenPort, r.Text),
				fmt.Sprintf("allow it there, or forward UDP %d there", f.Config.ListenPort)})
			continue
		}
		found = append(found, Finding{OK, "mapping", fmt.Sprintf("none: the router %v maps no ports: %s", r.Router, r.Text), ""})
	}
	return found
}

// offered judges the blind relay that the machine is for others.
func offered(f *Facts) (found []Finding) {
	for _, c := range f.NotServing {
		found = append(found, Finding{Warn, "relay", c.Cause, c.Remedy})
	}
	switch {
	case f.Offered.Port != 0:
		found = append(found, Finding{OK, "relay", "this machine is one for others: " + f.Offered.String(), ""})
	case len(found) == 0 && f.Config != nil && f.Config.BlindOffer:
		found = append(found, Finding{Skip, "relay", "relay.offer is set, and the agent has not started one yet", ""})
	}
	return found
}

// relays judges the blind relays: that of this machine, and those that it has joined.
func relays(f *Facts) (found []Finding) {
	switch {
	case !f.asked() && f.Config != nil && f.Config.BlindOffer:
		return one(Skip, "relay", "relay.offer is set, and there is no agent to ask", "")
	case !f.asked():
		return nil
	}
	found = offered(f)
	for _, c := range f.NotJoined {
		found = append(found, Finding{Warn, "relay", "that of " + c.Subject + " was not joined: " + c.Cause, c.Remedy})
	}
	for i := range f.Relays {
		r := &f.Relays[i]
		ports := strings.Join(r.Ports, ", ")
		switch {
		case !r.Registered:
			found = append(found, Finding{Warn, "relay", fmt.Sprintf("%s does not answer by UDP (%s), and is not reached over TCP", r.Name, ports),
				"let UDP out to it, and open its UDP port at the relay"})
		case r.OverTCP:
			found = append(found, Finding{OK, "relay", fmt.Sprintf("%s is reached over TCP, since its UDP port (%s) does not answer: a lost packet holds up those behind it", r.Name, ports),
				"let UDP out to it"})
		default:
			found = append(found, Finding{OK, "relay", r.Name + " is reached by UDP", ""})
		}
	}
	return found
}

// Relay is a blind relay that the machine has joined.
type Relay struct {
	Name                string
	Registered, OverTCP bool
	// Ports are its addresses of UDP.
	Ports []string
}

// directPaths says what came of each endpoint of the peers that probes were sent to.
func directPaths(f *Facts) (found []Finding) {
	if f.asked() && f.Config != nil && f.Config.NoPunch {
		return one(Skip, "path", "nat.punch is false: no direct path is looked for", "")
	}
	for i := range f.Paths {
		if i == maxPaths {
			return append(found, Finding{Skip, "path", fmt.Sprintf("%d more peers", len(f.Paths)-i), "`spanctl get paths -o yaml`"})
		}
		found = append(found, f.directPath(&f.Paths[i]))
	}
	return found
}

func (f *Facts) directPath(p *Path) Finding {
	what := "direct to " + p.Label + ": " + p.Endpoint
	switch {
	case p.Endpoint == "":
		what = fmt.Sprintf("none to %s: %s", p.Label, cmp.Or(p.Why, "not known"))
	case p.Punched:
		what += ", punched"
	}
	var tried []string
	for i := range p.Candidates {
		if i == maxTried {
			tried = append(tried, fmt.Sprintf("%d more", len(p.Candidates)-i))
			break
		}
		tried = append(tried, f.candidate(&p.Candidates[i]))
	}
	if len(tried) > 0 {
		what += "; " + strings.Join(tried, ", ")
	}
	if wait := p.NextRound.Sub(f.Now); p.Endpoint == "" && wait > 0 {
		what += "; next in " + human.Duration(wait)
	}
	return Finding{OK, "path", what, ""}
}

// candidate says what became of an endpoint, such as "203.0.113.9:51820 no answer 12s ago".
func (f *Facts) candidate(c *Candidate) string {
	text := c.Endpoint + " " + c.Outcome
	switch {
	case c.Why != "":
		text += " (" + c.Why + ")"
	case c.RTT != "":
		text += " in " + c.RTT
	}
	if ago := f.Now.Sub(c.TriedAt); !c.TriedAt.IsZero() && ago >= 0 {
		text += " " + human.Duration(ago) + " ago"
	}
	return text
}
