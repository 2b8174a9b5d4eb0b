package top

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/agent"
	"github.com/spanmesh/span/cmd/spanctl/internal/golden"
	"github.com/spanmesh/span/cmd/spanctl/internal/healthtext/healthtest"
)

var update = flag.Bool("update", false, "write the golden files in testdata, and the sample in the documents")

// sampleEvents are the events of Sample with Unreachable.
var sampleEvents = []Event{
	{Reason: "PeerUp", Object: "db1", Message: "answers at 203.0.113.9:51820", Count: 1, Last: healthtest.At.Add(-20 * time.Minute)},
	{Warning: true, Reason: "PeerUnreachable", Object: "db2", Message: healthtest.Unreachable.GetCause() + ": " + healthtest.Unreachable.GetRemedy(), Count: 1,
		Last: healthtest.At.Add(-4 * time.Minute)},
	{Reason: "AgentStarted", Message: "v0.3.0", Count: 2, Last: healthtest.At.Add(-76 * time.Hour)},
}

// sample is a mesh of three in which one does not answer, seen for half an hour.
func sample() *Model {
	m := New(healthtest.At.Add(-30*time.Minute), Options{Zone: time.UTC}, at(-30*time.Minute, healthtest.Sample()))
	m.Update(m.now, Resize{80, 24})
	for minutes := -29; minutes <= 0; minutes++ {
		since := time.Duration(minutes) * time.Minute
		for _, half := range []time.Duration{since - 30*time.Second, since} {
			h := at(half, healthtest.Sample())
			// RTTs that rise and fall, and traffic of 3 KiB a second.
			h.Peers[0].RttSeconds = proto.Float64(0.0112 + 0.004*float64((minutes+30)%7))
			h.Peers[0].ReceivedBytes += 3072 * half.Seconds()
			if minutes >= -4 {
				unreachable(h)
			}
			m.Update(healthtest.At.Add(half), HealthAnswer{Health: h})
		}
	}
	m.Update(m.now, EventsAnswer{Events: sampleEvents})
	return m
}

func at(since time.Duration, h *agentpb.GetHealthResponse) *agentpb.GetHealthResponse {
	h.Time = timestamppb.New(healthtest.At.Add(since))
	return h
}

// unreachable makes the second peer of Sample one that does not answer.
func unreachable(h *agentpb.GetHealthResponse) {
	h.State, h.Conditions = "degraded", []*agentpb.Condition{healthtest.Unreachable}
	h.Peers[1] = &agentpb.Peer{Name: "db2", PublicKey: "b", State: "down", Path: "198.51.100.7:51820", TransmittedBytes: 7992}
}

// noAgent is the answer where no agent runs.
func noAgent() *agentpb.GetHealthResponse {
	return &agentpb.GetHealthResponse{State: agent.StateNoAgent, Hostname: "web1", Time: timestamppb.New(healthtest.At), Conditions: []*agentpb.Condition{
		{Code: "NoAgent", Severity: "error", Cause: "nobody answers at /run/spanctl/spanctl.sock; the link kubespan with 2 peers is left as it is", Remedy: "`systemctl start spanctl`"}}}
}

// many returns the health of a mesh of n peers, each third with a long name.
func many(n int) *agentpb.GetHealthResponse {
	h := healthtest.Sample()
	h.Peers = nil
	for i := range n {
		p := &agentpb.Peer{Name: fmt.Sprintf("node-%04d", i), PublicKey: fmt.Sprint(i), State: "up", Path: "203.0.113.9:51820", RttSeconds: proto.Float64(0.001 * float64(i)), Loss: proto.Float64(0)}
		if i%3 == 0 {
			p.Name = fmt.Sprintf("データベース-%04d.region-1.compute.example.com", i)
		}
		h.Peers = append(h.Peers, p)
	}
	return h
}

func press(m *Model, keys ...string) {
	for _, k := range keys {
		text := k
		if len(k) > 1 {
			text = ""
		}
		m.Update(m.now, Key{Name: k, Text: text})
	}
}

func answer(m *Model, h *agentpb.GetHealthResponse) { m.Update(m.now, HealthAnswer{Health: h}) }

var sampleDetails = Details{NodeID: "EUsCYz+oHNuBppS51P9aKSIOyYvIPmbZK944PWgiyMQ=", Address: "fd89:33b8::8c42", Endpoints: []string{"203.0.113.9:51820", "[2001:db8::9]:51820"},
	Refused: []string{"10.0.4.9:51820: it is an address of this machine"}, Moved: healthtest.At.Add(-2 * time.Hour)}

// frames are screens, by the names of their golden files.
var frames = map[string]func() *Model{
	"overview-80x24":  sample,
	"overview-200x60": func() *Model { m := sample(); m.Update(m.now, Resize{200, 60}); return m },
	"overview-40x10":  func() *Model { m := sample(); m.Update(m.now, Resize{40, 10}); return m },
	"overview-20x4":   func() *Model { m := sample(); m.Update(m.now, Resize{20, 4}); return m },
	"colour-80x24": func() *Model {
		m := sample()
		m.options.Color, m.view.Color = true, true
		return m
	},
	"no-peers": func() *Model {
		m := sample()
		h := healthtest.Sample()
		h.Peers = nil
		answer(m, h)
		return m
	},
	"thousand-peers": func() *Model {
		m := sample()
		answer(m, many(1000))
		press(m, "end", "up")
		return m
	},
	"long-names-60x20": func() *Model {
		m := sample()
		m.Update(m.now, Resize{60, 20})
		answer(m, many(7))
		press(m, "s", "s")
		return m
	},
	"broken": func() *Model {
		m := sample()
		h := healthtest.Sample()
		h.State, h.Ready, h.Conditions = "broken", false, []*agentpb.Condition{healthtest.Blocked, healthtest.Unreachable}
		for i := range 20 {
			c := proto.CloneOf(healthtest.Unreachable)
			c.Subject = fmt.Sprint("node-", i)
			h.Conditions = append(h.Conditions, c)
		}
		answer(m, h)
		return m
	},
	"hostile": func() *Model {
		m := sample()
		h := healthtest.Sample()
		h.Peers[0].Name = "\x1b[31mdb1\n\u202e"
		h.Hostname = "web\x1b]0;x\a"
		h.State, h.Conditions = "degraded", []*agentpb.Condition{{Code: "PeerDown", Severity: "warning", Subject: "\x1b]0;x\a", Cause: "a\rb", Remedy: "c\td"}}
		answer(m, h)
		m.Update(m.now, EventsAnswer{Events: []Event{{Reason: "Peer\x1b[2JUp", Object: "db\r1", Message: "is\x9b up\n", Last: healthtest.At}}})
		return m
	},
	"filter": func() *Model {
		m := sample()
		press(m, "/", "D", "B", "2", "enter")
		return m
	},
	"filter-typed": func() *Model {
		m := sample()
		press(m, "/", "n", "o", "backspace")
		return m
	},
	"filter-none": func() *Model {
		m := sample()
		press(m, "/", "z", "z", "enter")
		return m
	},
	"paused": func() *Model {
		m := sample()
		press(m, "p")
		answer(m, many(9))
		return m
	},
	"conditions": func() *Model { m := sample(); press(m, "c"); return m },
	"events":     func() *Model { m := sample(); press(m, "e"); return m },
	"machine":    func() *Model { m := sample(); press(m, "m"); return m },
	"help":       func() *Model { m := sample(); press(m, "?"); return m },
	"diff": func() *Model {
		m := sample()
		press(m, "d")
		m.Update(m.now, DiffAnswer{Lines: []string{"--- kernel", "+++ the config in force", " peer key (db1)", "-  endpoint 203.0.113.9:1", "+  endpoint 203.0.113.9:51820"}})
		return m
	},
	"diff-none": func() *Model { m := sample(); press(m, "d"); m.Update(m.now, DiffAnswer{}); return m },
	"peer": func() *Model {
		m := sample()
		m.Update(m.now, Resize{80, 36})
		press(m, "enter")
		m.Update(m.now, DetailsAnswer{Peer: "a", Details: sampleDetails})
		return m
	},
	"peer-down": func() *Model {
		m := sample()
		m.Update(m.now, Resize{80, 36})
		press(m, "down", "enter")
		return m
	},
	"machine-no-agent": func() *Model { m := sample(); answer(m, noAgent()); press(m, "m"); return m },
	"no-agent":         func() *Model { m := sample(); answer(m, noAgent()); return m },
	"no-answer": func() *Model {
		m := sample()
		m.Update(m.now, HealthAnswer{Err: errors.New("the agent at /run/spanctl/spanctl.sock has not answered within 10s: it hangs, or the machine does\n  systemctl restart spanctl")})
		m.Update(m.now.Add(12*time.Second), Tick{})
		return m
	},
}

// TestFrames compares screens with testdata/frames.
func TestFrames(t *testing.T) {
	for name, model := range frames {
		t.Run(name, func(t *testing.T) {
			m := model()
			got := m.View() + "\n"
			fits(t, m)
			golden.Compare(t, filepath.Join("testdata", "frames", name+".txt"), got, *update)
		})
	}
}

// TestDocumentedFrame compares the sample in docs/operate.md with the screen.
func TestDocumentedFrame(t *testing.T) {
	const path = "../../../../docs/operate.md"
	const begin, end = "<!-- top: written by `go test ./cmd/spanctl/internal/top -update` -->\n```\n", "```\n<!-- /top -->"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, has := strings.Cut(string(text), begin)
	is, after, closed := strings.Cut(rest, end)
	if !has || !closed {
		t.Fatal("the document has no place for the sample")
	}
	var want strings.Builder
	for line := range strings.Lines(sample().View() + "\n") {
		want.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	if *update {
		if err := os.WriteFile(path, []byte(before+begin+want.String()+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if diff := cmp.Diff(want.String(), is); diff != "" {
		t.Errorf("-want +got (go test -update writes it):\n%s", diff)
	}
}
