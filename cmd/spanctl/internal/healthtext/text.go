package healthtext

import (
	"cmp"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/terminal"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/human"
	"github.com/spanmesh/span/reconciler/mesh"
)

// gap is the space between two columns.
const gap = 2

// View is how the health of a machine is shown.
type View struct {
	// Width is that of the terminal in columns; 0 for any.
	Width int
	// Color is set for a terminal that shows colours.
	Color bool
	// Zone is that of dates.
	Zone *time.Location
	// Cells is how the terminal draws text; the zero value goes by the locale.
	Cells Cells
}

// Cells is how many columns of a terminal text takes.
type Cells struct {
	// Width returns the number of columns of text.
	Width func(text string) int
	// Truncate shortens text to a number of columns, the last with tail if it was longer.
	Truncate func(text string, width int, tail string) string
}

func (c Cells) width(text string) int {
	if c.Width == nil {
		return runewidth.StringWidth(text)
	}
	return c.Width(text)
}

func (c Cells) truncate(text string, width int, tail string) string {
	if c.Truncate == nil {
		return runewidth.Truncate(text, width, tail)
	}
	return c.Truncate(text, width, tail)
}

// fill adds spaces up to a number of columns.
func (c Cells) fill(text string, width int) string {
	return text + strings.Repeat(" ", max(width-c.width(text), 0))
}

// Text returns the health of a machine.
func (v View) Text(h *agentpb.GetHealthResponse) string {
	now := h.GetTime().AsTime()
	lines := append(v.Head(h), v.conditions(h)...)
	if len(h.GetPeers()) > 0 {
		lines = append(lines, v.Table(PeerColumns(), PeerRows(h.GetPeers(), now))...)
		lines = append(lines, v.notDirect(h.GetPeers())...)
	}
	return strings.Join(lines, "\n") + "\n"
}

// Head returns the lines about the machine itself. The first is its state.
func (v View) Head(h *agentpb.GetHealthResponse) []string {
	now := h.GetTime().AsTime()
	head := [][2]string{{cmp.Or(h.GetHostname(), "state"), ""}}
	if m := h.GetMesh(); m != nil {
		where := cmp.Or(m.GetWireguard(), "no link")
		head = append(head, [2]string{"mesh", fmt.Sprintf("%s %s, UDP %d, MTU %d, %s", m.GetLink(), m.GetAddress(), m.GetPort(), m.GetMtu(), where)})
	}
	if nat := natText(h.GetMesh()); nat != "" {
		head = append(head, [2]string{"nat", nat})
	}
	for _, m := range h.GetMesh().GetPortMappings() {
		text := m.GetEndpoint() + " by the router (" + m.GetProtocol() + "), announced"
		if m.GetBehindNat() {
			text += "; it is behind another NAT"
		}
		head = append(head, [2]string{"mapped", text})
	}
	for i, r := range h.GetRelays() {
		head = append(head, [2]string{firstOnly("relay", i), relayText(r)})
	}
	if o := h.GetOfferedRelay(); o != nil {
		offered := health.OfferedRelay{Port: uint16(o.GetPort()), Members: int(o.GetMembers()), Registered: int(o.GetRegistered())}
		head = append(head, [2]string{"offers", "a relay, " + offered.String()})
	}
	if n := h.GetNames(); n != nil {
		head = append(head, [2]string{"names", namesText(n)})
	}
	if c := h.GetCluster(); c != nil {
		head = append(head, [2]string{"cluster", strings.TrimPrefix(c.GetFingerprint()+", "+human.Count(int(c.GetMachines()), "machine"), ", ")})
	}
	for i, s := range h.GetDiscovery() {
		head = append(head, [2]string{firstOnly("discovery", i), sessionText(s, now)})
	}
	if c := h.GetConfig(); c != nil {
		since := dateText(c.GetSince().AsTime().In(v.Zone), now.In(v.Zone))
		head = append(head, [2]string{"config", filepath.Base(c.GetPath()) + " in force since " + since})
	}
	width := len("discovery")
	for i := range head {
		head[i][0] = terminal.Plain(head[i][0])
		width = max(width, v.Cells.width(head[i][0]))
	}
	lines := make([]string, len(head))
	for i, line := range head {
		text := terminal.Plain(line[1])
		if i == 0 {
			text = v.state(h)
		}
		lines[i] = v.Cells.fill(line[0], width+gap) + text
	}
	return lines
}

// firstOnly returns the name of a line that is the first of several; "" for those after it.
func firstOnly(name string, i int) string {
	if i > 0 {
		return ""
	}
	return name
}

// namesText says how names of machines are resolved.
func namesText(n *agentpb.Names) string {
	how := "not resolved"
	if n.GetResolvedBy() != "" {
		how = "by " + n.GetResolvedBy()
	}
	return fmt.Sprintf("%s, %s, %s", n.GetDomain(), human.Count(int(n.GetMachines()), "machine"), how)
}

// relayText says how the machine is registered with a relay.
func relayText(r *agentpb.BlindRelay) string {
	switch {
	case !r.GetRegistered():
		return r.GetName() + " joined, not registered: it does not answer"
	case r.GetOverTcp():
		return r.GetName() + " registered over TCP, since its UDP port does not answer: a lost packet holds up those behind it"
	default:
		return r.GetName() + " registered"
	}
}

// natText says how a NAT maps the machine's port; "" where there is none, or its kind is not known.
func natText(m *agentpb.Mesh) string {
	switch ports := m.GetMappedPorts(); {
	case mesh.NAT(m.GetNat()) == mesh.NATDependent:
		return m.GetMappedAddress() + ", another port for each destination: not announced"
	case mesh.NAT(m.GetNat()) == mesh.NATIndependent && len(ports) == 1:
		return fmt.Sprintf("%s for everybody, announced", net.JoinHostPort(m.GetMappedAddress(), strconv.Itoa(int(ports[0]))))
	default:
		return ""
	}
}

// paint colours text.
func (v View) paint(color, text string) string {
	if !v.Color || color == "" {
		return text
	}
	return color + text + terminal.Reset
}

// state returns the first line: the state with what is wrong, or with the version.
func (v View) state(h *agentpb.GetHealthResponse) string {
	errs, warnings := 0, 0
	for _, c := range h.GetConditions() {
		switch c.GetSeverity() {
		case "error":
			errs++
		case "warning":
			warnings++
		}
	}
	var wrong []string
	if errs > 0 {
		wrong = append(wrong, human.Count(errs, "error"))
	}
	if warnings > 0 {
		wrong = append(wrong, human.Count(warnings, "warning"))
	}
	color := map[health.State]string{health.Healthy: terminal.Green, health.Starting: terminal.Yellow, health.Degraded: terminal.Yellow, health.Broken: terminal.Red}
	state := v.paint(color[health.State(h.GetState())], terminal.Plain(h.GetState()))
	if len(wrong) > 0 {
		return state + ": " + strings.Join(wrong, ", ")
	}
	if health.State(h.GetState()) == health.Starting && len(h.GetPeers()) > 0 {
		return state + ": no peer is up yet"
	}
	return fmt.Sprintf("%s, %s, up %s", state, terminal.Plain(h.GetVersion()), human.Duration(h.GetTime().AsTime().Sub(h.GetStarted().AsTime())))
}

// sessionText returns the state of a connection to a registry.
func sessionText(s *agentpb.DiscoverySession, now time.Time) string {
	text := cmp.Or(s.GetEndpoint(), s.GetRegistry()) + " not connected"
	if s.GetConnected() {
		text = cmp.Or(s.GetEndpoint(), s.GetRegistry()) + " connected"
	}
	if s.GetSince() != nil {
		if !s.GetConnected() {
			text += " for"
		}
		text += " " + human.Duration(now.Sub(s.GetSince().AsTime()))
	}
	if s.GetLastHeard() != nil {
		text += ", heard " + human.Duration(now.Sub(s.GetLastHeard().AsTime())) + " ago"
	} else if !s.GetConnected() {
		text += ", never heard"
	}
	if s.GetError() != "" {
		text += ": " + s.GetError()
	}
	return text
}

// dateText returns a time, without the year where that is the one of now.
func dateText(t, now time.Time) string {
	if t.Year() != now.Year() {
		return t.Format("2006 Jan _2 15:04")
	}
	return t.Format("Jan _2 15:04")
}
