package reconciler_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/resource"
)

// twin is one of two engines that see the same.
type twin struct {
	*reconciler.Engine
	kernel *fakeKernel
	store  *resource.Store
	log    bytes.Buffer
	// paths, lastGood and mtus are what the engine has called its owner with.
	paths    []reconciler.Path
	lastGood []map[mesh.Key]netip.AddrPort
	mtus     []int
	// patched and members count the passes that have changed what the one before has gathered, and those in which
	// members have joined or left.
	patched, members int
}

func newTwin() *twin {
	w := &twin{kernel: &fakeKernel{links: linksOf(1500, 0)}, store: &resource.Store{}}
	timeless := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	log := slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: timeless}))
	w.Engine = reconciler.NewEngine(w.kernel, identify, w.store, log)
	w.Started = start
	w.PathChanged = func(p reconciler.Path) { w.paths = append(w.paths, p) }
	w.SaveLastGood = func(lastGood map[mesh.Key]netip.AddrPort) { w.lastGood = append(w.lastGood, lastGood) }
	w.LinkMTU = func(mtu int) { w.mtus = append(w.mtus, mtu) }
	return w
}

// pass does a pass and returns all that it has led to.
func (w *twin) pass(h *history) map[string]any {
	w.paths, w.lastGood, w.mtus = nil, nil, nil
	w.log.Reset()
	p, err := w.RunFor(context.Background(), h.now, h.config, h.known, h.trigger)
	got := map[string]any{"error": fmt.Sprint(err)}
	if p != nil {
		w.Probe(p)
		got["plan"], got["desired"], got["conditions"], got["local"], got["harvested"] = p.Plan, p.Desired(), p.Conditions, p.Local, p.Harvested
		got["next"], got["same"], got["probes"], got["relays"] = p.NextCheck, p.Same, p.Probes(), p.Relays()
		if patched, members := p.Patched(); patched {
			w.patched++
			if members {
				w.members++
			}
		}
	}
	got["paths"], got["health"], got["probing"], got["live"] = w.paths, w.Health(h.now), w.Probing(), w.kernel.state()
	got["last good"], got["mtus"], got["over TCP"], got["returns"], got["admitted"] = w.lastGood, w.mtus, w.OverTCP(), w.Returns(), w.Admitted()
	got["connections"] = w.Connections()
	log := strings.Split(w.log.String(), "\n")
	slices.Sort(log) // that of refused affiliates is in the order of a map
	got["log"] = log
	for _, t := range resource.Types {
		got[t.Name] = w.store.List(t)
	}
	got["shown"] = w.Statuses()
	return got
}

// TestPassesAreAsIfOverAll has two engines see the same random histories. The passes of one of them work on
// all peers each time.
func TestPassesAreAsIfOverAll(t *testing.T) {
	patched, members := 0, 0
	for seed := range uint64(histories) {
		h := newHistory(t, seed)
		reference, engine := newTwin(), newTwin()
		for pass := range 300 {
			edits := h.next()
			plan := h.IntN(30) == 0
			for _, w := range []*twin{reference, engine} {
				for _, edit := range edits {
					edit(w)
				}
				if plan {
					_, _ = w.Plan(h.now, h.config, h.known)
				}
			}
			reference.PassOverAll()
			want, got := reference.pass(h), engine.pass(h)
			for name := range want {
				if !reflect.DeepEqual(want[name], got[name]) {
					t.Fatalf("seed %d, pass %d: after %v, %s differs (-want +got):\n%s", seed, pass, h.happened, name,
						cmp.Diff(fmt.Sprintf("%+v", want[name]), fmt.Sprintf("%+v", got[name])))
				}
			}
		}
		patched, members = patched+engine.patched, members+engine.members
	}
	t.Logf("%d passes changed what was gathered before; members joined or left in %d", patched, members)
	if patched < 20*histories || members < histories/2 {
		t.Error("the test shows little")
	}
}

// TestHistoriesChangeEveryField keeps fields that are new from being forgotten.
func TestHistoriesChangeEveryField(t *testing.T) {
	check := func(of any, changed func(name string) bool) {
		for _, f := range reflect.VisibleFields(reflect.TypeOf(of)) {
			if !changed(f.Name) {
				t.Errorf("no history changes %T.%s", of, f.Name)
			}
		}
	}
	inAffiliate := func(name string) bool { return affiliateChanges[name] != nil }
	check(mesh.Affiliate{}, func(name string) bool { return name == "KubeSpan" || inAffiliate(name) })
	check(mesh.KubeSpan{}, inAffiliate)
	check(reconciler.Knowledge{}, func(name string) bool { return name == "Version" || knowledgeChanges[name] != nil })
	check(reconciler.Direct{}, func(name string) bool { return directChanges[name] != nil })
}
