package server_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"

	"github.com/spanmesh/span/discoveryhttp/server"
	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/discoveryhttp/serverpb/serverpbconnect"
	"github.com/spanmesh/span/discoveryhttp/store"
)

// inUse returns the memory in use, in bytes, after all that can be is collected.
func inUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// TestMemoryIsWhatIsCounted has clients of several addresses watch and list many clusters, each
// from another state on, and take nothing, while all affiliates are replaced again and again.
func TestMemoryIsWhatIsCounted(t *testing.T) {
	const clusters, machines, data, addresses, rounds = 30, 60, 2048, 12, 12
	kept := store.NewMemory(store.Limits{Backlog: 4 << 20})
	replace := func(round, cluster int, share int) {
		for i := range machines / share {
			u := store.Update{ID: fmt.Sprint(i), Data: []byte(strings.Repeat(string(rune('a'+round)), data)), Now: time.Now(), TTL: time.Hour}
			if err := kept.Update(t.Context(), fmt.Sprint(cluster), u); err != nil {
				t.Fatal(err)
			}
		}
	}
	for k := range clusters {
		replace(0, k, 1)
	}
	limits := server.DefaultLimits()
	limits.PerAddress, limits.PerCluster = server.Rate{}, server.Rate{}
	limits.Sent, limits.Store.Backlog = 16<<20, 4<<20
	address, s := serverOf(t, keeping(kept), func(o *server.Options) { o.Limits = limits })
	before := inUse()
	random := rand.New(rand.NewPCG(1, 2))
	var clients []*stuckClient
	var most int64
	for round := 1; round <= rounds; round++ {
		for a := range addresses {
			c := stuckAt(t, address, a)
			clients = append(clients, c)
			for range 20 {
				k := random.IntN(clusters)
				procedure, request := serverpbconnect.ClusterWatchProcedure, proto.Message(&serverpb.WatchRequest{ClusterId: fmt.Sprint(k)})
				if random.IntN(4) == 0 {
					procedure, request = serverpbconnect.ClusterListProcedure, &serverpb.ListRequest{ClusterId: fmt.Sprint(k)}
				}
				// The server ends those that have left too much.
				stream, err := c.try(procedure, "application/grpc", request)
				if err != nil || !c.await(func(f http2.Frame) bool { return f.Header().StreamID == stream }) {
					break
				}
				replace(round, k, 4)
			}
		}
		for k := range clusters {
			replace(round, k, 1)
		}
		sent, backlog := s.Sent(), kept.Stats().Backlog
		used := inUse() - before
		// Watches are counted by their number. The clients are part of the process.
		if counted := sent + backlog + int64(kept.Stats().Watchers)*server.WatchMemory; used > counted+4<<20 || used < (sent+backlog)/2 {
			t.Errorf("round %d: %d bytes are used, and %d are counted: %d are sent and %d behind", round, used, counted, sent, backlog)
		}
		if sent > limits.Sent || backlog > limits.Store.Backlog {
			t.Errorf("round %d: %d bytes are sent, and %d behind", round, sent, backlog)
		}
		most = max(most, sent)
	}
	if most < limits.Sent/2 {
		t.Errorf("no more than %d bytes were sent", most)
	}
	for _, c := range clients {
		_ = c.conn.Close()
	}
	until(t, func() bool { return kept.Stats().Watchers == 0 && s.Sent() == 0 })
	if err := kept.Expire(time.Now()); err != nil {
		t.Fatal(err)
	}
	if backlog := kept.Stats().Backlog; backlog != 0 {
		t.Errorf("%d bytes are behind for nobody", backlog)
	}
	until(t, func() bool { return inUse()-before < 4<<20 })
}

// stuckAt returns a client that takes nothing, at an address of its own.
func stuckAt(t *testing.T, address string, k int) *stuckClient {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(k+1))}}
	conn, err := dialer.DialContext(context.Background(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return newStuckClientOn(t, conn, 0)
}

// TestWatchTakesWhatIsCounted has watches with the largest header that take nothing, each of a
// cluster of its own.
func TestWatchTakesWhatIsCounted(t *testing.T) {
	// The fields of a request take 400 bytes, and each field 32 bytes more than its text.
	var fields []hpack.HeaderField
	for i := range (server.HeaderList - 400) / 35 {
		fields = append(fields, hpack.HeaderField{Name: fmt.Sprintf("%03x", i), Sensitive: true})
	}
	const connections, calls = 8, 250
	kept := store.NewMemory(store.Limits{})
	address, s := serverOf(t, keeping(kept))
	before := inUse()
	for k := range connections {
		c := stuckAt(t, address, k)
		for i := range calls {
			stream, err := c.try(serverpbconnect.ClusterWatchProcedure, "application/grpc", &serverpb.WatchRequest{ClusterId: fmt.Sprint(k, i)}, fields...)
			if err != nil {
				t.Fatal(err)
			}
			if !c.await(func(f http2.Frame) bool { return f.Header().StreamID == stream }) {
				t.Fatal("the connection is closed")
			}
		}
	}
	if got := kept.Stats().Watchers; got != connections*calls {
		t.Fatalf("%d watches are open", got)
	}
	if each := (inUse() - before - s.Sent()) / (connections * calls); each > server.WatchMemory+server.ClusterMemory {
		t.Errorf("a watch takes %d bytes", each)
	} else {
		t.Logf("a watch takes %d bytes", each)
	}
}
