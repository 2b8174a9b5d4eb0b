package ui_test

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

const (
	// draws is how often the page draws a hundred machines.
	draws = 10
	// drawBound is the time in which it draws them on any machine. `make bench-ui` has how long it takes.
	drawBound = 5 * time.Second
)

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
	server := httptest.NewServer(pageOfMany(t, nil))
	t.Cleanup(server.CloseClientConnections)
	b := startBrowser(t)
	b.look(1280, "light")
	run(b, chromedp.Navigate(server.URL))
	var took []time.Duration
	for range draws {
		b.show("matrix")
		b.await(`document.querySelectorAll("main table td.up").length === 9900`)
		ms := evaluate[float64](b, `new Promise((done) => {
			const last = () => performance.getEntriesByName("draw").findLast((m) => m.detail === "matrix");
			const observer = new PerformanceObserver(() => { if (last()) { observer.disconnect(); done(last().duration); } });
			observer.observe({ type: "measure", buffered: true });
		})`)
		took = append(took, time.Duration(ms*float64(time.Millisecond)))
		b.show("events")
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
		t.Errorf("the matrix of a hundred machines is drawn in %v", middle)
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
