package server_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"

	"github.com/spanmesh/span/discoveryhttp/server"
	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/discoveryhttp/serverpb/serverpbconnect"
)

// unlimited lifts the limits that a benchmark would meet.
func unlimited(o *server.Options) {
	o.Limits = server.Limits{ID: 256, Data: 2048, Endpoint: 32, TTL: o.Limits.TTL, Send: o.Limits.Send}
	o.Limits.Store.Endpoints = 64
}

// BenchmarkGRPCUpdate measures an update, with the client's share of it.
func BenchmarkGRPCUpdate(b *testing.B) {
	conn := dial(b, serveGRPC(b, unlimited))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		m := updateRequest("c", "a", strings.Repeat("x", 256), make([]byte, 32)).Msg
		for pb.Next() {
			if err := conn.Invoke(b.Context(), serverpbconnect.ClusterAffiliateUpdateProcedure, m, new(serverpb.AffiliateUpdateResponse)); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkGRPCWatch measures an update that is delivered to all watchers, which share 8
// connections, with the clients' share of it.
func BenchmarkGRPCWatch(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprintf("watchers=%d", n), func(b *testing.B) {
			address := serveGRPC(b, unlimited)
			var conns []*grpc.ClientConn
			for range 8 {
				conns = append(conns, dial(b, address))
			}
			watches := make([]grpc.ClientStream, n)
			receive := func() {
				var all sync.WaitGroup
				for _, w := range watches {
					all.Go(func() {
						if err := w.RecvMsg(new(serverpb.WatchResponse)); err != nil {
							b.Error(err)
						}
					})
				}
				all.Wait()
			}
			for i := range watches {
				w, err := conns[i%len(conns)].NewStream(b.Context(), &grpc.StreamDesc{ServerStreams: true}, serverpbconnect.ClusterWatchProcedure)
				if err != nil {
					b.Fatal(err)
				}
				if err := w.SendMsg(&serverpb.WatchRequest{ClusterId: "c"}); err != nil {
					b.Fatal(err)
				}
				if err := w.CloseSend(); err != nil {
					b.Fatal(err)
				}
				watches[i] = w
			}
			receive()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				m := updateRequest("c", "a", fmt.Sprintf("%0256d", i)).Msg
				if err := conns[0].Invoke(b.Context(), serverpbconnect.ClusterAffiliateUpdateProcedure, m, new(serverpb.AffiliateUpdateResponse)); err != nil {
					b.Fatal(err)
				}
				receive()
			}
		})
	}
}
