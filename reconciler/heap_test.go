package reconciler_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/resource"
)

// BenchmarkHeap measures what an engine holds for each of 5,000 peers that do not answer, without the affiliates
// themselves, which discovery holds.
func BenchmarkHeap(b *testing.B) {
	const peers = 5000
	c := config(b, "")
	known := complete(manyAffiliates(peers)...)
	known.Version = 1
	made := &fakeKernel{}
	if _, err := reconciler.NewEngine(made, identify, &resource.Store{}, discard()).Run(b.Context(), start, c, known); err != nil {
		b.Fatal(err)
	}
	kernel := &stillKernel{shown: made.live}
	kernel.shown.Normalize()
	for b.Loop() {
		before := heap()
		engine := reconciler.NewEngine(kernel, identify, &resource.Store{}, discard())
		for i := range 4 {
			if _, err := engine.Run(b.Context(), start.Add(time.Duration(i)*2*time.Second), c, known); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(heap()-before)/peers, "B/peer")
		runtime.KeepAlive(engine)
	}
	b.ReportMetric(0, "ns/op") // that is the time of the passes
}

// heap returns the size of the live heap in bytes.
func heap() int64 {
	runtime.GC()
	runtime.GC() // the first one leaves what pools keep
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
