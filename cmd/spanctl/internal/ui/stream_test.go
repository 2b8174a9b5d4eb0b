package ui

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/agent"
)

// sse is an open stream.
type sse struct {
	w    *world
	body io.ReadCloser
	in   *bufio.Reader
}

// open opens a stream.
func (w *world) open() *sse {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.base+"/api/stream", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	response, err := w.client.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" {
		w.t.Fatalf("the stream is %s", response.Status)
	}
	w.t.Cleanup(func() { _ = response.Body.Close() })
	return &sse{w, response.Body, bufio.NewReader(response.Body)}
}

// await reads until an event has a text, and returns its name.
func (s *sse) await(text string) (event string) {
	s.w.t.Helper()
	for {
		line, err := s.in.ReadString('\n')
		if err != nil {
			s.w.t.Fatalf("the stream ended before %q: %v", text, err)
		}
		s.w.seen.WriteString(line)
		if name, is := strings.CutPrefix(line, "event: "); is {
			event = strings.TrimSpace(name)
		}
		if strings.HasPrefix(line, "data: ") && strings.Contains(line, text) {
			return event
		}
	}
}

func TestStreamFollowsTheMachine(t *testing.T) {
	w := newWorld(t, false)
	w.enter()
	if n := w.agent.called("GetHealth"); n != 0 {
		t.Errorf("without a page, the agent was asked %d times", n)
	}
	first := w.open()
	if event := first.await(`"name":"db1","publicKey":"","state":"up"`); event != "health" {
		t.Errorf("the event is %q", event)
	}
	spec, err := structpb.NewStruct(map[string]any{"severity": "Warning", "reason": "PeerDown", "object": "db1", "message": "silent", "count": 3, "lastTimestamp": "2026-01-02T03:04:05Z"})
	if err != nil {
		t.Fatal(err)
	}
	w.agent.events <- &agentpb.WatchResponse{Events: []*agentpb.Event{{Resource: &agentpb.Resource{Metadata: &agentpb.Metadata{Id: "1"}, Spec: spec}}}}
	const happened = `{"machine":"local","events":[{"id":"1","time":"2026-01-02T03:04:05Z","type":"Warning","reason":"PeerDown","subject":"db1","message":"silent","count":3}],"reset":true}`
	if event := first.await(happened); event != "events" {
		t.Errorf("the event is %q", event)
	}
	second := w.open()
	second.await(`"state":"up"`)
	second.await(happened)
	w.agent.set("degraded", "down")
	first.await(`"publicKey":"","state":"down"`)
	second.await(`"publicKey":"","state":"down"`)
	if _, body := w.do(http.MethodGet, "/api/session", ""); !strings.Contains(body, `"name":"web1"`) {
		t.Errorf("the session is %s", body)
	}
	if w.mu.Lock(); w.dials != 1 {
		t.Errorf("the server connected %d times for two pages", w.dials)
	}
	w.mu.Unlock()

	w.setRefused(errors.New("no route to web1"))
	first.await(`no route to web1`)
	w.setRefused(nil)
	first.await(`"state":"degraded"`)
	w.agent.set(agent.StateNoAgent, "")
	first.await(`"state":"no agent"`)
	if response, body := w.do(http.MethodGet, "/api/machines/local/diff", ""); response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("without an agent, diff is %s: %s", response.Status, body)
	}
	w.agent.set("healthy", "up")
	first.await(`"state":"healthy"`)
}

func TestStreamsAreBounded(t *testing.T) {
	w := newWorld(t, false)
	w.enter()
	var open []*sse
	for range maxStreams {
		open = append(open, w.open())
	}
	if response, body := w.do(http.MethodGet, "/api/stream", ""); response.StatusCode != http.StatusTooManyRequests {
		t.Errorf("one stream more is %s: %s", response.Status, body)
	}
	_ = open[0].body.Close()
	for {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.base+"/api/stream", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := w.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode == http.StatusOK {
			return // the server has seen the end of the first
		}
	}
}
