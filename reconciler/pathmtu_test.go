package reconciler_test

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/resource"
)

// TestPathMTU has a peer that is reached, a way that loses large packets, and another way.
func TestPathMTU(t *testing.T) {
	var paths chan reconciler.Path
	withLoopOf(t, func(e *reconciler.Engine) {
		paths = make(chan reconciler.Path, 1000)
		e.Started, e.PathChanged = time.Now(), func(p reconciler.Path) { paths <- p }
	}, func(t *testing.T, r *running) {
		shown := func() (found []resource.Condition) {
			synctest.Wait()
			for _, c := range r.store.List(resource.Conditions) {
				if spec := c.Spec.(resource.Condition); spec.Code == string(condition.MTUBlackHole) {
					found = append(found, spec)
				}
			}
			return found
		}
		// reached has the peers send something for some time.
		reached := func(keys ...byte) {
			for range 10 {
				r.kernel.edit(up(time.Now(), keys...))
				time.Sleep(5 * time.Second)
			}
			synctest.Wait()
		}
		measured := func(path reconciler.Path, passes int, want bool) {
			t.Helper()
			if current, err := r.MeasuredMTU(t.Context(), path, 1420, passes); err != nil || current != want {
				t.Errorf("the way is the present one: %v, %v, want %v", current, err, want)
			}
		}
		if _, err := r.SetConfig(t.Context(), config(t, "")); err != nil {
			t.Fatal(err)
		}
		r.registry.learn(affiliate(1, "10.0.0.1:51820"), affiliate(2))
		time.Sleep(time.Second)
		reached(1)
		if n := len(paths); n != 1 {
			t.Fatalf("%d ways are new, want that to the peer that is up: %+v", n, r.store.List(resource.PeerStatuses))
		}
		path := <-paths
		if path.Peer != (mesh.Key{1}) || path.Endpoint != netip.MustParseAddrPort("10.0.0.1:51820") || path.MTU != 1420 || !path.Address.Is6() {
			t.Errorf("the way is %+v", path)
		}

		measured(path, 1392, true)
		if found := shown(); len(found) != 1 || found[0].Subject != "name-b" || found[0].Cause != "1420 bytes to name-b are lost, 1392 pass" {
			t.Errorf("the conditions are %+v", found)
		}
		measured(path, 1420, true)
		if found := shown(); len(found) != 0 {
			t.Errorf("once all passes the conditions are %+v", found)
		}

		measured(path, 1280, true)
		if _, err := r.SetConfig(t.Context(), config(t, "mtu: 1280")); err != nil {
			t.Fatal(err)
		}
		reached(1)
		if found := shown(); len(found) != 0 {
			t.Errorf("with another MTU the conditions are %+v", found)
		}
		measured(path, 1280, false)
		if again := <-paths; again.MTU != 1280 || again.Peer != path.Peer {
			t.Errorf("the new way is %+v", again)
		}

		path.MTU = 1280
		measured(path, 0, true)
		time.Sleep(10 * time.Minute) // the peer is silent
		if found := shown(); len(found) != 0 {
			t.Errorf("once the peer is down the conditions are %+v", found)
		}
		reached(1)
		if n := len(paths); n != 1 {
			t.Errorf("%d ways are new when the peer is back, want 1", n)
		}
	})
}
