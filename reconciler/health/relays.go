package health

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/spanmesh/span/reconciler/condition"
)

// BlindRelay is the machine's connection to a blind relay that it has joined.
type BlindRelay struct {
	// Name is for people.
	Name string
	// Endpoints are those of its UDP port. The list is not to be changed.
	Endpoints []netip.AddrPort
	// URL is where it is reached over TCP; empty for nowhere.
	URL string
	// Registered is set while the machine is registered with it, over TCP if OverTCP is set.
	Registered, OverTCP bool
}

// String returns the relay's name and how the machine is registered with it.
func (r *BlindRelay) String() string {
	switch {
	case !r.Registered:
		return r.Name + " not registered"
	case r.OverTCP:
		return r.Name + " over TCP"
	default:
		return r.Name + " by UDP"
	}
}

// OfferedRelay is the blind relay that the machine is for others. The zero value is none.
type OfferedRelay struct {
	// Port is its UDP port.
	Port uint16
	// Members may register with it, and Registered of them are.
	Members, Registered int
}

// String returns the port and how many machines are registered; "" for none.
func (o OfferedRelay) String() string {
	if o.Port == 0 {
		return ""
	}
	return fmt.Sprintf("UDP %d, %d of %d machines registered", o.Port, o.Registered, o.Members)
}

// judgeRelays finds the blind relays that do not answer.
func judgeRelays(_ time.Time, s *Snapshot) (found []condition.Condition) {
	for i := range s.Relays {
		r := &s.Relays[i]
		if r.Registered {
			continue
		}
		c := condition.Condition{Code: condition.RelayUnreachable, Subject: r.Name,
			Cause:  "nothing comes from UDP " + endpoints(r.Endpoints),
			Remedy: fmt.Sprintf("let UDP out to %s, and open UDP %s at the relay", endpoints(r.Endpoints), ports(r.Endpoints))}
		if r.URL != "" {
			c.Cause += ", nor over TCP from " + r.URL
			c.Remedy += "; or let " + r.URL + " through"
		}
		found = append(found, c)
	}
	return found
}

// judgeJoining returns the condition of a discovery service whose relay was not joined. One that is not
// connected has another.
func judgeJoining(x *Session) (found []condition.Condition) {
	if x.State != Connected || x.NotJoined.Text == "" {
		return nil
	}
	return []condition.Condition{{Code: condition.RelayNotJoined, Subject: x.subject(), Cause: x.NotJoined.Text,
		Remedy: "raise the limit that is named at the service, or set the clock, by the cause; relay.use: false joins none"}}
}
