package server_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/spanmesh/span/discoveryhttp/server"
	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/discoveryhttp/store"
)

// FuzzHandler sends arbitrary bodies to each method, in each encoding.
func FuzzHandler(f *testing.F) {
	methods := []string{"Hello", "AffiliateUpdate", "AffiliateDelete", "List"}
	types := []string{"application/proto", "application/json", "application/grpc", "application/grpc+proto", "application/connect+proto",
		"application/grpc-web", "text/plain"}
	update, err := proto.Marshal(updateRequest("c", "a", "data", make([]byte, 16)).Msg)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint8(1), uint8(0), update)
	f.Add(uint8(1), uint8(1), []byte(`{"clusterId":"c","affiliateId":"a","affiliateData":"AAEC","ttl":"60s"}`))
	f.Add(uint8(3), uint8(2), []byte{0, 0, 0, 0, 3, 10, 1, 'c'})
	limits := server.DefaultLimits()
	limits.PerAddress, limits.PerCluster = server.Rate{}, server.Rate{}
	limits.Store.Clusters = 10
	kept := store.NewMemory(limits.Store)
	handler := server.New(f.Context(), server.Options{Store: kept, Limits: limits, Log: slog.New(slog.DiscardHandler)}).Handler()
	f.Fuzz(func(t *testing.T, method, kind uint8, body []byte) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost,
			"/sidero.discovery.server.Cluster/"+methods[int(method)%len(methods)], bytes.NewReader(body))
		r.Header.Set("Content-Type", types[int(kind)%len(types)])
		r.ProtoMajor = 2
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code >= 500 && w.Code != http.StatusServiceUnavailable && w.Code != http.StatusNotImplemented {
			t.Errorf("status %d for %q: %s", w.Code, body, w.Body)
		}
		if stats := kept.Stats(); stats.Clusters > 10 {
			t.Errorf("%d clusters are kept", stats.Clusters)
		}
	})
}

// FuzzAffiliateRoundTrip stores arbitrary affiliates and expects a protobuf decoder to
// read the same.
func FuzzAffiliateRoundTrip(f *testing.F) {
	f.Add("a", []byte("data"), []byte("endpoint"))
	f.Fuzz(func(t *testing.T, id string, data, endpoint []byte) {
		s := store.NewMemory(store.Limits{})
		if err := s.Update(t.Context(), "c", store.Update{ID: id, Data: data, Endpoints: [][]byte{endpoint}, TTL: 1}); err != nil {
			t.Fatal(err)
		}
		all, err := s.List(t.Context(), "c")
		if err != nil {
			t.Fatal(err)
		}
		var got serverpb.ListResponse
		if err := proto.Unmarshal(all.Wire(), &got); err != nil {
			if bytes.ContainsFunc([]byte(id), func(r rune) bool { return r == '\uFFFD' }) {
				return // protobuf's strings are UTF-8
			}
			t.Fatal(err)
		}
		a := got.GetAffiliates()[0]
		if a.GetId() != id || !bytes.Equal(a.GetData(), data) || !bytes.Equal(a.GetEndpoints()[0], endpoint) {
			t.Errorf("got %v", a)
		}
	})
}
