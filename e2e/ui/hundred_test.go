package ui_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/e2e/internal/harness"
)

const hundred = 100

// TestHundredMachines shows a hundred machines, of each of which a server says what an agent would.
func TestHundredMachines(t *testing.T) {
	harness.Scenario(t, "the page in Chromium: of the 10,000 cells of a hundred machines, only one that changes is drawn again")
	changed := make(chan struct{})
	server := httptest.NewServer(pageOfMany(t, changed))
	t.Cleanup(server.CloseClientConnections)
	b := startBrowser(t)
	b.look(1280, "light")
	run(b, chromedp.Navigate(server.URL))
	run(b, chromedp.WaitVisible("#app main"))
	b.await(`document.querySelectorAll("main tbody tr").length === 100`)
	b.show("matrix")
	b.await(`document.querySelectorAll("main table td.up").length === 9900`)
	evaluate[bool](b, `globalThis.drawn = new Set(), new MutationObserver((list) => list.forEach((m) => {
		drawn.add(m.target.closest ? m.target.closest("td, tr, tbody") : m.target.parentNode);
	})).observe(document.querySelector(".matrix tbody"), { subtree: true, childList: true, characterData: true, attributes: true }), true`)
	close(changed)
	b.await(`document.querySelectorAll("main table td.down").length === 1`)
	if drawn := evaluate[string](b, `[...drawn].map((e) => e.outerHTML.slice(0, 100)).join("\n")`); drawn != `<td class="down">✗</td>` {
		t.Errorf("a cell has changed, and this was drawn again:\n%s", drawn)
	}
	b.show("events")
	b.show("matrix")
	b.await(`document.querySelectorAll("main table td.up").length === 9899`)
	t.Logf("the matrix is seen %.0f ms after it is chosen, on this machine as it is now",
		evaluate[float64](b, `performance.getEntriesByName("draw").filter((m) => m.detail === "matrix").at(-1).duration`))
}

// pageOfMany serves the page as `spanctl ui` does, with machines that all see each other. When
// changed is closed, each is said again, and one of them has a peer that is down.
func pageOfMany(t testing.TB, changed <-chan struct{}) http.Handler {
	t.Helper()
	type machine struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	}
	var machines []machine
	for i := range hundred {
		machines = append(machines, machine{ID: nodeName(i), Name: nodeName(i)})
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServer(http.Dir(filepath.Join(root(t), "cmd/spanctl/internal/ui/dist"))))
	mux.HandleFunc("GET /api/session", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"version": "test", "machines": machines})
	})
	mux.HandleFunc("GET /api/stream", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		say := func(down bool) {
			for i := range machines {
				fmt.Fprintf(w, "event: health\ndata: %s\n\n", healthOf(t, i, down && i == 7))
			}
			_ = http.NewResponseController(w).Flush() // the browser is gone, then
		}
		say(false)
		select {
		case <-changed:
			say(true)
			<-r.Context().Done()
		case <-r.Context().Done():
		}
	})
	return mux
}

func nodeName(i int) string { return fmt.Sprintf("node-%d", i+1) }

// healthOf returns what the stream says of a machine, whose third peer may be down.
func healthOf(t testing.TB, i int, down bool) []byte {
	t.Helper()
	health := &agentpb.GetHealthResponse{State: "healthy", Hostname: nodeName(i), Time: timestamppb.New(time.Now())}
	for j := range hundred {
		if j == i {
			continue
		}
		peer := &agentpb.Peer{Name: nodeName(j), State: "up", Path: "203.0.113.9:51820", RttSeconds: proto.Float64(float64(i+j) / 10000)}
		if down && j == 2 {
			peer.State = "down"
		}
		health.Peers = append(health.Peers, peer)
	}
	text, err := protojson.Marshal(health)
	if err != nil {
		t.Error(err)
	}
	data, err := json.Marshal(map[string]any{"machine": nodeName(i), "health": json.RawMessage(text)})
	if err != nil {
		t.Error(err)
	}
	return data
}
