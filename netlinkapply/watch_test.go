package netlinkapply_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"github.com/spanmesh/span/netlinkapply"
	"github.com/spanmesh/span/reconciler/state"
)

// TestWatch changes spanctl's table until the watch reports it, since the watch may join its
// groups after the first changes. Then it changes objects of another program.
func TestWatch(t *testing.T) {
	scope := scopeOf(t)
	scope.FirewallTable = "watched" // a name of the test, which no other test uses
	ctx, cancel := context.WithCancel(t.Context())
	changed := make(chan struct{}, 1)
	var deleted atomic.Bool
	done := make(chan error, 1)
	go func() {
		done <- netlinkapply.Watch(ctx, func() state.Scope { return scope }, func(tableDeleted bool) {
			if tableDeleted {
				deleted.Store(true)
			}
			select {
			case changed <- struct{}{}:
			default:
			}
		}, func(time.Duration) {})
	}()
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	touch := func(name string) {
		t.Helper()
		table := &nftables.Table{Name: name, Family: nftables.TableFamilyINet}
		conn.AddTable(table)
		conn.DelTable(table)
		if err := conn.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	deadline := time.After(10 * time.Second)
	for seen := false; !seen; {
		touch("watched")
		select {
		case <-changed:
			seen = true
		case <-deadline:
			t.Fatal("the watch reports nothing")
		case <-time.After(10 * time.Millisecond):
		}
	}
	drain := func() {
		for range 10 {
			select {
			case <-changed:
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
	drain()
	if !deleted.Swap(false) {
		t.Error("the watch does not report that the table was deleted")
	}
	touch("another")
	select {
	case <-changed:
		t.Error("the watch reports another program's table")
	case <-time.After(50 * time.Millisecond):
	}
	route := &netlink.Route{LinkIndex: 1, Table: 77, Dst: mustAddr("203.0.113.0/24").IPNet}
	if err := netlink.RouteAdd(route); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
		t.Error("the watch reports a route in another table")
	case <-time.After(50 * time.Millisecond):
	}
	route.Table = ourTable
	if err := netlink.RouteAdd(route); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.RouteDel(route) })
	select {
	case <-changed:
	case <-deadline:
		t.Error("the watch does not report a route in spanctl's table")
	}
	if deleted.Load() {
		t.Error("the watch reports a deleted table for a route or another program's table")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
