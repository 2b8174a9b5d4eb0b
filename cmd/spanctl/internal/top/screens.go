package top

import (
	"fmt"
	"slices"
	"time"

	"github.com/spanmesh/span/cmd/spanctl/internal/healthtext"
	"github.com/spanmesh/span/cmd/spanctl/internal/terminal"
	"github.com/spanmesh/span/reconciler/human"
)

// conditionsScreen has all that is wrong, with cause and remedy.
func (m *Model) conditionsScreen() []string {
	d := m.data()
	lines := append([]string{m.heading("CONDITIONS")}, m.failure()...)
	for _, c := range d.health.GetConditions() {
		if m.matches(c.GetCode(), c.GetSubject(), c.GetSeverity(), c.GetCause(), c.GetRemedy()) {
			lines = append(lines, m.view.Condition(c, d.health.GetTime().AsTime())...)
		}
	}
	switch {
	case len(lines) > 1:
		return lines
	case len(d.health.GetConditions()) > 0:
		return append(lines, "no condition is like the filter")
	default:
		return append(lines, "nothing is wrong")
	}
}

// eventTime returns when an event happened, with the day where that is not today.
func (m *Model) eventTime(e Event) string {
	now := m.data().health.GetTime().AsTime().In(m.options.Zone)
	at := e.Last.In(m.options.Zone)
	if at.Year() == now.Year() && at.YearDay() == now.YearDay() {
		return at.Format(time.TimeOnly)
	}
	return at.Format("Jan _2 15:04")
}

// timeWidth returns the width of the times of events.
func (m *Model) timeWidth(shown []Event) (width int) {
	for _, e := range shown {
		width = max(width, len(m.eventTime(e)))
	}
	return width
}

// eventTitle returns the beginning of an event's line, with the time in so many columns.
func (m *Model) eventTitle(e Event, width int) string {
	text := e.Reason
	if e.Object != "" {
		text += " " + e.Object
	}
	if e.Count > 1 {
		text += fmt.Sprintf(", %d times", e.Count)
	}
	sign := " "
	if e.Warning {
		sign = "!"
		text = m.paint(terminal.Yellow, terminal.Plain(text))
	} else {
		text = terminal.Plain(text)
	}
	return fmt.Sprintf("%*s %s %s", width, m.eventTime(e), sign, text)
}

// matching returns the events that the filter takes.
func (m *Model) matching() (found []Event) {
	for _, e := range m.data().events {
		if m.matches(e.Reason, e.Object, e.Message) {
			found = append(found, e)
		}
	}
	return found
}

// eventLine returns an event on a line.
func (m *Model) eventLine(e Event, width int) string {
	title := m.eventTitle(e, width)
	if e.Message == "" {
		return title
	}
	return title + ": " + terminal.Plain(e.Message)
}

// eventLines returns a line for each event, the latest first.
func (m *Model) eventLines() (lines []string) {
	shown := m.matching()
	width := m.timeWidth(shown)
	for _, e := range shown {
		lines = append(lines, m.eventLine(e, width))
	}
	return lines
}

// eventsText returns events whole, in as many lines as they take.
func (m *Model) eventsText(shown []Event) (lines []string) {
	width := m.timeWidth(shown)
	for _, e := range shown {
		line := m.eventLine(e, width)
		if m.view.Cells.Width(line) <= m.view.Width {
			lines = append(lines, line)
			continue
		}
		lines = append(append(lines, m.eventTitle(e, width)), m.view.Paragraph(terminal.Plain(e.Message))...)
	}
	return lines
}

func (m *Model) eventsScreen() []string {
	lines := append([]string{m.heading("EVENTS")}, m.eventsText(m.matching())...)
	switch {
	case len(lines) > 1:
		return lines
	case len(m.data().events) > 0:
		return append(lines, "no event is like the filter")
	default:
		return append(lines, "nothing has happened")
	}
}

// diffScreen has what differs between the kernel and the config.
func (m *Model) diffScreen() []string {
	lines := []string{m.heading("DIFF")}
	switch {
	case m.compared == nil && !m.data().hasAgent():
		return append(lines, "no agent answers")
	case m.compared == nil:
		return append(lines, "comparing the kernel with the config …")
	case m.compared.Err != nil:
		return append(lines, m.paragraphs(m.compared.Err.Error())...)
	case len(m.compared.Lines) == 0:
		return append(lines, "no difference: the kernel is as the config asks")
	default:
		return append(lines, m.compared.Lines...)
	}
}

// machineScreen has all lines about the machine, and sums over its peers.
func (m *Model) machineScreen() []string {
	d := m.data()
	h := d.health
	lines := m.head()[1:]
	lines = append(lines, "")
	states, direct, relayed := map[string]int{}, 0, 0
	var times []float64
	var received, sent float64
	var now rate
	for _, p := range h.GetPeers() {
		states[p.GetState()]++
		switch {
		case healthtext.IsRelayed(p):
			relayed++
		case p.GetPath() != "":
			direct++
		}
		if p.RttSeconds != nil {
			times = append(times, p.GetRttSeconds())
		}
		received, sent = received+p.GetReceivedBytes(), sent+p.GetTransmittedBytes()
		r := d.rates[p.GetPublicKey()]
		now.received, now.sent = now.received+r.received, now.sent+r.sent
	}
	n := len(h.GetPeers())
	lines = append(lines,
		fmt.Sprintf("peers      %d: %d up, %d down, %d unknown", n, states["up"], states["down"], n-states["up"]-states["down"]),
		fmt.Sprintf("paths      %d direct, %d by a relay, %d without one", direct, relayed, n-direct-relayed))
	slices.Sort(times)
	if len(times) > 0 {
		lines = append(lines, fmt.Sprintf("RTT        least %s, median %s, most %s, of %s", seconds(times[0]), seconds(times[len(times)/2]), seconds(times[len(times)-1]), human.Count(len(times), "peer")))
	}
	if h.GetStarted() != nil {
		up := h.GetTime().AsTime().Sub(h.GetStarted().AsTime())
		lines = append(lines, fmt.Sprintf("agent      %s, up %s", terminal.Plain(h.GetVersion()), human.Duration(up)))
	}
	return append(lines,
		fmt.Sprintf("received   %s, %s/s", human.Bytes(int64(received)), human.Bytes(int64(now.received))),
		fmt.Sprintf("sent       %s, %s/s", human.Bytes(int64(sent)), human.Bytes(int64(now.sent))),
		"probes     "+holds(h.GetReady(), "ready")+", "+holds(h.GetLive(), "live"))
}

// holds says whether a check of `spanctl status --check` holds.
func holds(is bool, check string) string {
	if is {
		return check
	}
	return "not " + check
}

func seconds(s float64) string { return healthtext.RTT(time.Duration(s * float64(time.Second))) }

// helpScreen has the keys and the signs.
func (m *Model) helpScreen() []string {
	return append([]string{m.heading("KEYS")},
		"up, down, j, k      choose a peer, or move by a line",
		"page up, page down  move by a page; home and end, g and G go to the ends",
		"enter               the chosen peer: endpoints, history, conditions, events",
		"esc                 back; in the overview, clear the filter",
		"/                   show only what has a text in it: peers, conditions, events",
		"s                   sort the peers by name, state, RTT, loss, traffic, handshake",
		"c                   all conditions, with cause and remedy",
		"e                   all events",
		"m                   the machine: mesh, discovery, config, sums over the peers",
		"d                   what differs between the kernel and the config",
		"p                   pause, and go on",
		"q, ctrl+c           quit",
		"",
		m.heading("SIGNS"),
		"x ! i               a condition that is an error, a warning, good to know",
		"TREND               the round-trip time, half a minute a column, the latest at the",
		"                    right. A steady one is at half the height. x: the peer was down;",
		"                    a dot: it is up, and has answered no echo",
		"RX/s, TX/s          bytes a second that came, and that went")
}
