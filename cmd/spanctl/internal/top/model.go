package top

import (
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/healthtext"
)

// Options are how the screen is drawn, and how often the agent is asked.
type Options struct {
	// Color is set for a terminal that shows colours.
	Color bool
	// Zone is that of times.
	Zone *time.Location
	// Remote is set where each new connection costs a login.
	Remote bool
}

// Event is something that happened on the machine.
type Event struct {
	Warning                 bool
	Reason, Object, Message string
	// Count is how often it happened.
	Count int
	// Last is when it happened last.
	Last time.Time
}

// Details are what the health does not have about a peer.
type Details struct {
	NodeID, Address string
	// Endpoints are those that are tried, the most promising first.
	Endpoints []string
	// Refused are those that are not, each with the reason.
	Refused []string
	// Moved is when the endpoint changed last; zero for never.
	Moved time.Time
}

// Sample is what the agent knows of a peer in a time of bucketTime that began at Time.
type Sample struct {
	Time time.Time
	// State is "up", "down" or "unknown"; empty if nothing is known.
	State string
	// RTT is the round-trip time in seconds; 0 if it is not known.
	RTT float64
}

// Topic is what the agent is asked for.
type Topic string

// The topics.
const (
	AskHealth  Topic = "health"
	AskEvents  Topic = "events"
	AskSamples Topic = "samples"
	AskDetails Topic = "details"
	AskDiff    Topic = "diff"
)

// Ask is a question to the agent.
type Ask struct {
	Topic Topic
	// Peer is the public key of the peer of AskDetails.
	Peer string
}

// The messages of Update.
type (
	// Tick says that time has passed.
	Tick struct{}
	// Resize has the size of the terminal in columns and lines.
	Resize struct{ Width, Height int }
	// Graphemes says that the terminal draws a cluster of characters as one.
	Graphemes struct{}
	// Key is a key that was pressed. Text is what it types; empty for others.
	Key struct{ Name, Text string }
	// HealthAnswer is the answer to AskHealth. What took long is an error.
	HealthAnswer struct {
		Health *agentpb.GetHealthResponse
		Err    error
	}
	// EventsAnswer is the answer to AskEvents, in any order.
	EventsAnswer struct {
		Events []Event
		Err    error
	}
	// SamplesAnswer is the answer to AskSamples: the last hour of each peer, by public key, the
	// oldest first.
	SamplesAnswer struct {
		Peers map[string][]Sample
		Err   error
	}
	// DetailsAnswer is the answer to AskDetails.
	DetailsAnswer struct {
		Peer    string
		Details Details
		Err     error
	}
	// DiffAnswer is the answer to AskDiff: the lines of a diff, without lines where there is none.
	DiffAnswer struct {
		Lines []string
		Err   error
	}
)

const (
	// interval is the time from one question for the health to the next.
	interval = time.Second
	// retryInterval is that where each needs a new login, since the last has failed.
	retryInterval = 5 * time.Second
	// eventsInterval is the time after which events are asked for if nothing seems to have changed.
	eventsInterval = 10 * time.Second
	// samplesInterval is the time from one question for the samples to the next.
	samplesInterval = 10 * time.Minute
	// detailsInterval is the time from one question for the details of a peer to the next.
	detailsInterval = 5 * time.Second
)

// screen is what is shown.
type screen string

const (
	overview   screen = "overview"
	peer       screen = "peer"
	conditions screen = "conditions"
	events     screen = "events"
	machine    screen = "machine"
	diff       screen = "diff"
	help       screen = "help"
)

// Model is the state of the screen. It is for one goroutine.
type Model struct {
	options Options
	view    healthtext.View
	height  int
	now     time.Time
	quit    bool

	live data
	// frozen is what is shown while the screen is paused.
	frozen *data

	screen screen
	// scroll is the first line that is shown of a screen other than the overview.
	scroll int
	// cursor is the public key of the chosen peer; empty for the first.
	cursor string
	// details is about the chosen peer; nil before an answer.
	details *DetailsAnswer
	// compared is the last diff; nil before an answer.
	compared *DiffAnswer
	filter   string
	typing   bool
	sort     order

	// asked are the questions without an answer.
	asked map[Ask]bool
	// due is when a topic is asked for next.
	due map[Topic]time.Time
}

// New returns a model that knows the health at a time.
func New(now time.Time, options Options, first *agentpb.GetHealthResponse) *Model {
	m := &Model{options: options, now: now, screen: overview, asked: map[Ask]bool{}, due: map[Topic]time.Time{}}
	m.view = healthtext.View{Color: options.Color, Zone: options.Zone, Cells: healthtext.Cells{Width: ansi.StringWidthWc, Truncate: truncate}}
	m.live.take(now, HealthAnswer{Health: first})
	m.due[AskHealth] = now.Add(interval)
	return m
}

// truncate shortens text to columns that are counted by code points, as most terminals do.
// ansi.TruncateWc alone returns text as it is where its clusters would fit.
func truncate(text string, width int, tail string) string {
	if ansi.StringWidthWc(text) <= width {
		return text
	}
	return ansi.TruncateWc(text+strings.Repeat(" ", max(width, 0)+1), width, tail)
}

// Update takes what happened at a time and returns what to ask the agent for.
func (m *Model) Update(now time.Time, message any) []Ask {
	m.now = now
	switch message := message.(type) {
	case Resize:
		m.view.Width, m.height = message.Width, message.Height
	case Graphemes:
		m.view.Cells = healthtext.Cells{Width: ansi.StringWidth, Truncate: ansi.Truncate}
	case Key:
		return m.press(message)
	case HealthAnswer:
		delete(m.asked, Ask{Topic: AskHealth})
		if m.live.take(now, message) {
			m.due[AskEvents] = now
		}
		if m.live.restarted {
			m.due[AskSamples] = now
		}
		if m.options.Remote && !m.live.hasAgent() {
			m.due[AskHealth] = now.Add(retryInterval)
		}
	case EventsAnswer:
		delete(m.asked, Ask{Topic: AskEvents})
		m.live.takeEvents(message)
	case SamplesAnswer:
		delete(m.asked, Ask{Topic: AskSamples})
		m.live.takeSamples(message)
	case DetailsAnswer:
		delete(m.asked, Ask{Topic: AskDetails, Peer: message.Peer})
		if message.Peer == m.cursor {
			m.details = &message
		}
	case DiffAnswer:
		delete(m.asked, Ask{Topic: AskDiff})
		m.compared = &message
	case Tick:
	}
	return m.questions()
}

// Quit reports whether the user wants to leave.
func (m *Model) Quit() bool { return m.quit }

// questions returns what to ask for now.
func (m *Model) questions() (asks []Ask) {
	if !m.now.Before(m.due[AskHealth]) {
		asks = m.ask(asks, Ask{Topic: AskHealth}, interval)
	}
	if !m.live.hasAgent() {
		return asks
	}
	if !m.now.Before(m.due[AskEvents]) {
		asks = m.ask(asks, Ask{Topic: AskEvents}, eventsInterval)
	}
	if !m.now.Before(m.due[AskSamples]) {
		asks = m.ask(asks, Ask{Topic: AskSamples}, samplesInterval)
	}
	if m.screen == peer && !m.now.Before(m.due[AskDetails]) {
		asks = m.ask(asks, Ask{Topic: AskDetails, Peer: m.cursor}, detailsInterval)
	}
	return asks
}

// ask adds a question, unless it has been asked and not answered.
func (m *Model) ask(asks []Ask, a Ask, again time.Duration) []Ask {
	if m.asked[a] {
		return asks
	}
	m.asked[a] = true
	m.due[a.Topic] = m.now.Add(again)
	return append(asks, a)
}

// data returns what is shown.
func (m *Model) data() *data {
	if m.frozen != nil {
		return m.frozen
	}
	return &m.live
}
