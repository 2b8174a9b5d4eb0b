package ui_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

const (
	// crowd is how many machines the page draws.
	crowd = 100
	// draws is how often it does.
	draws = 10
	// drawBound is the time in which it draws them on any machine. `make bench-ui` has how long it takes.
	drawBound = 5 * time.Second
)

// crowdServer serves the page with machines that do not exist. Each has all others as peers.
func crowdServer(t testing.TB) *httptest.Server {
	type object = map[string]any
	var machines []object
	var health [][]byte
	name := func(i int) string { return fmt.Sprintf("machine-%d", i) }
	for i := range crowd {
		machines = append(machines, object{"id": name(i), "name": name(i)})
		var peers []object
		for j := range crowd {
			if j == i {
				continue
			}
			peer := object{"name": name(j), "publicKey": name(j), "state": "up", "path": "203.0.113.9:51820", "rttSeconds": float64(i+j) / 1e4, "loss": 0, "receivedBytes": 1e6, "transmittedBytes": 1e6}
			if (i+j)%17 == 0 {
				peer["state"] = "down"
			}
			peers = append(peers, peer)
		}
		data, err := json.Marshal(object{"machine": name(i), "health": object{"apiVersion": "spanctl/v1", "state": "healthy", "ready": true, "live": true, "hostname": name(i),
			"time": "2026-01-02T03:04:05Z", "started": "2026-01-01T03:04:05Z", "conditions": []object{}, "discovery": []object{}, "peers": peers}})
		if err != nil {
			t.Fatal(err)
		}
		health = append(health, data)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServer(http.Dir(filepath.Join(root(t), "cmd/spanctl/internal/ui/dist"))))
	mux.HandleFunc("GET /api/session", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(object{"version": "v0.0.0", "write": false, "machines": machines})
	})
	mux.HandleFunc("GET /api/stream", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, data := range health {
			_, _ = fmt.Fprintf(w, "event: health\ndata: %s\n\n", data)
		}
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		server.CloseClientConnections() // those of streams
		server.Close()
	})
	return server
}

// root returns the directory of the workspace.
func root(t testing.TB) string {
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.work")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// drawMatrix returns how long the page took to draw a matrix of all machines, from the state until it
// is on the screen, the shortest first.
func drawMatrix(t testing.TB) []time.Duration {
	b := startBrowser(t)
	b.look(1280, "light")
	run(b, chromedp.Navigate(crowdServer(t).URL))
	var took []time.Duration
	for range draws {
		b.show("matrix")
		b.await(fmt.Sprintf(`document.querySelectorAll("main table td.up, main table td.down").length === %d`, crowd*(crowd-1)))
		ms := evaluate[float64](b, `new Promise((done) => {
			const last = () => performance.getEntriesByName("draw").findLast((m) => m.detail === "matrix");
			const observer = new PerformanceObserver(() => { if (last()) { observer.disconnect(); done(last().duration); } });
			observer.observe({ type: "measure", buffered: true });
		})`)
		took = append(took, time.Duration(ms*float64(time.Millisecond)))
		b.show("overview")
		evaluate[bool](b, `performance.clearMeasures("draw"), true`)
	}
	slices.Sort(took)
	return took
}

// TestPageDrawsManyMachines has the page draw a matrix of 100 × 100.
func TestPageDrawsManyMachines(t *testing.T) {
	took := drawMatrix(t)
	t.Logf("drawn within %v", took)
	if middle := took[draws/2]; middle > drawBound {
		t.Errorf("the matrix of %d machines is drawn in %v", crowd, middle)
	}
}

// BenchmarkMatrix measures that.
func BenchmarkMatrix(b *testing.B) {
	for b.Loop() {
		took := drawMatrix(b)
		b.ReportMetric(float64(took[draws/2].Microseconds())/1000, "ms/draw")
		b.ReportMetric(float64(took[0].Microseconds())/1000, "ms/best")
	}
}
