package server_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/discoveryhttp/server"
	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/discoveryhttp/serverpb/serverpbconnect"
	"github.com/spanmesh/span/discoveryhttp/store"
)

// fakeServer is a server without a network. Calls come from any address, and its time may
// be that of a synctest bubble.
type fakeServer struct {
	store   *store.Memory
	handler http.Handler
}

// newFakeServer returns a server with the default options as changed by changes.
func newFakeServer(ctx context.Context, changes ...func(*server.Options)) *fakeServer {
	o := server.Options{Limits: server.DefaultLimits(), Log: slog.New(slog.DiscardHandler)}
	for _, change := range changes {
		change(&o)
	}
	kept := store.NewMemory(o.Limits.Store)
	o.Store = kept
	return &fakeServer{kept, server.New(ctx, o).Handler()}
}

// answer is what a caller gets.
type answer struct {
	status     int
	retryAfter string
	// body is without spaces.
	body  string
	after time.Duration
}

// call calls a method in JSON. Extra headers are pairs of name and value.
func (f *fakeServer) call(ctx context.Context, from, method, body string, headers ...string) answer {
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/sidero.discovery.server.Cluster/"+method, strings.NewReader(body))
	r.RemoteAddr = from + ":1"
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	began := time.Now()
	f.handler.ServeHTTP(w, r)
	// JSON has random spaces.
	return answer{w.Code, w.Header().Get("Retry-After"), strings.ReplaceAll(w.Body.String(), " ", ""), time.Since(began)}
}

func updateBody(cluster, id string) string {
	return fmt.Sprintf(`{"clusterId":%q,"affiliateId":%q,"affiliateData":"AAEC","ttl":"60s"}`, cluster, id)
}

// watch opens a watch that stays open until ctx ends.
func (f *fakeServer) watch(ctx context.Context, from, cluster string) {
	message := fmt.Sprintf(`{"clusterId":%q}`, cluster)
	body := string([]byte{0, 0, 0, 0, byte(len(message))}) + message
	f.call(ctx, from, "Watch", body, "Content-Type", "application/connect+json")
}

// slow gives an address and a cluster one call a second, and five at once.
func slow(o *server.Options) {
	o.Limits.PerAddress = server.Rate{PerSecond: 1, Burst: 5}
	o.Limits.PerCluster = server.Rate{PerSecond: 1, Burst: 5}
}

func TestCallsBeyondARateWaitForTheirTurn(t *testing.T) {
	addressOnly := func(o *server.Options) { slow(o); o.Limits.PerCluster = server.Rate{} }
	clusterOnly := func(o *server.Options) { slow(o); o.Limits.PerAddress = server.Rate{} }
	for name, c := range map[string]struct {
		change func(*server.Options)
		method string
	}{
		"Hello, by its address":    {addressOnly, "Hello"},
		"List, by its address":     {addressOnly, "List"},
		"List, by its cluster":     {clusterOnly, "List"},
		"List, by both":            {slow, "List"},
		"update, by its cluster":   {clusterOnly, "AffiliateUpdate"},
		"deletion, by its address": {addressOnly, "AffiliateDelete"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeServer(t.Context(), c.change)
				body := updateBody("c", "a")
				if c.method == "Hello" || c.method == "List" {
					body = `{"clusterId":"c"}`
				}
				answers := make([]answer, 20)
				var all sync.WaitGroup
				for i := range answers {
					all.Go(func() { answers[i] = f.call(t.Context(), "203.0.113.1", c.method, body) })
				}
				all.Wait()
				waited := map[time.Duration]int{}
				for _, a := range answers {
					switch a.status {
					case http.StatusOK:
						waited[a.after]++
					case http.StatusTooManyRequests:
						if a.after != 0 || a.retryAfter != "11" || !strings.Contains(a.body, "toomanycallsfromthis") {
							t.Errorf("refused after %v with %+v", a.after, a)
						}
					default:
						t.Errorf("%+v", a)
					}
				}
				if waited[0] != 5 || len(waited) != 11 {
					t.Errorf("want 5 calls at once and one in each of 10 seconds, got %v", waited)
				}
			})
		})
	}
}

func TestCallIsRefusedAtOnceWhenItsTurnIsAfterItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeServer(t.Context(), slow)
		list := func(timeout string) answer {
			return f.call(t.Context(), "203.0.113.1", "List", `{"clusterId":"c"}`, "Connect-Timeout-Ms", timeout)
		}
		for range 5 {
			list("1000")
		}
		if a := list("900"); a.status != http.StatusTooManyRequests || a.after != 0 || a.retryAfter != "1" {
			t.Errorf("a call with 0.9 s, whose turn is in 1 s: %+v", a)
		}
		if a := list("1500"); a.status != http.StatusOK || a.after != time.Second {
			t.Errorf("a call with 1.5 s, whose turn is in 1 s: %+v", a)
		}
	})
}

func TestAddressesDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeServer(t.Context(), slow)
		var busy sync.WaitGroup
		for range 15 {
			busy.Go(func() { f.call(t.Context(), "203.0.113.1", "List", `{"clusterId":"c"}`) })
		}
		synctest.Wait()
		for from, at := range map[string]time.Duration{"203.0.113.2": 0, "[2001:db8::1]": 0} {
			if a := f.call(t.Context(), from, "List", `{"clusterId":"d"}`); a.status != http.StatusOK || a.after != at {
				t.Errorf("%s: %+v", from, a)
			}
		}
		busy.Wait()
	})
}

func TestCallsThatWaitAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeServer(t.Context(), slow, func(o *server.Options) {
			o.Limits.PerCluster = server.Rate{}
			o.Limits.WaitingPerAddress, o.Limits.Waiting = 3, 5
		})
		var all sync.WaitGroup
		status := func(from string, n int) map[int]int {
			counts := map[int]int{}
			var mu sync.Mutex
			for range n {
				all.Go(func() {
					a := f.call(t.Context(), from, "List", `{"clusterId":"c"}`)
					mu.Lock()
					defer mu.Unlock()
					counts[a.status]++
				})
			}
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			// Those that wait have no answer yet.
			return map[int]int{http.StatusOK: counts[http.StatusOK], http.StatusTooManyRequests: counts[http.StatusTooManyRequests]}
		}
		for _, c := range []struct {
			from        string
			ok, refused int
		}{
			{"203.0.113.1", 5, 2}, // 3 wait
			{"203.0.113.2", 5, 3}, // 2 wait
			{"203.0.113.3", 5, 5},
		} {
			if got := status(c.from, 10); got[http.StatusOK] != c.ok || got[http.StatusTooManyRequests] != c.refused {
				t.Errorf("%s: %v", c.from, got)
			}
		}
		// What was refused for the bound has not taken a turn.
		all.Wait()
		if a := f.call(t.Context(), "203.0.113.3", "List", `{"clusterId":"c"}`); a.status != http.StatusOK || a.after != 0 {
			t.Errorf("a later call: %+v", a)
		}
	})
}

func TestCallThatWaitsEndsWithItsCallerAndWithTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closing, shutDown := context.WithCancel(t.Context())
		f := newFakeServer(closing, slow, func(o *server.Options) { o.Limits.Waiting = 2 })
		for range 5 {
			f.call(t.Context(), "203.0.113.1", "List", `{"clusterId":"c"}`)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var gone, served answer
		var all sync.WaitGroup
		all.Go(func() { gone = f.call(ctx, "203.0.113.1", "List", `{"clusterId":"c"}`) })
		all.Go(func() { served = f.call(t.Context(), "203.0.113.1", "List", `{"clusterId":"c"}`) })
		synctest.Wait()
		cancel()
		synctest.Wait()
		shutDown()
		all.Wait()
		if gone.after != 0 || gone.status == http.StatusOK {
			t.Errorf("the call whose caller went: %+v", gone)
		}
		if served.after != 0 || served.status != http.StatusServiceUnavailable {
			t.Errorf("the call at the shutdown: %+v", served)
		}
	})
}

// TestStrangersDoNotUseUpTheRateOfACluster has callers with the wrong token.
func TestStrangersDoNotUseUpTheRateOfACluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeServer(t.Context(), slow, func(o *server.Options) { o.Auth = server.Member; o.Limits.PerAddress = server.Rate{} })
		if a := f.call(t.Context(), "203.0.113.1", "AffiliateUpdate", updateBody("c", "a"), "Authorization", "Bearer right"); a.status != http.StatusOK {
			t.Fatalf("%+v", a)
		}
		for range 100 {
			if a := f.call(t.Context(), "203.0.113.2", "List", `{"clusterId":"c"}`, "Authorization", "Bearer wrong"); a.status != http.StatusForbidden {
				t.Fatalf("%+v", a)
			}
		}
		if a := f.call(t.Context(), "203.0.113.1", "List", `{"clusterId":"c"}`, "Authorization", "Bearer right"); a.status != http.StatusOK || a.after != 0 {
			t.Errorf("%+v", a)
		}
	})
}

// TestFiveHundredMachinesBehindOneAddressJoinAtOnce calls as Talos does, with 13 endpoints
// that each machine has harvested: 16 calls each. Nobody waits.
func TestFiveHundredMachinesBehindOneAddressJoinAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const machines, harvested = 500, 13
		f := newFakeServer(t.Context())
		ctx, cancel := context.WithCancel(t.Context())
		var joining, watching sync.WaitGroup
		took := make([]time.Duration, machines)
		for i := range machines {
			joining.Go(func() {
				began := time.Now()
				must := func(method, body string) {
					if a := f.call(ctx, "203.0.113.1", method, body); a.status != http.StatusOK {
						t.Errorf("%s of machine %d: %+v", method, i, a)
					}
				}
				must("Hello", `{"clusterId":"c"}`)
				// A cluster of its own for each watch saves the test a million deliveries.
				watching.Go(func() { f.watch(ctx, "203.0.113.1", strconv.Itoa(i)) })
				must("AffiliateUpdate", updateBody("c", strconv.Itoa(i)))
				took[i] = time.Since(began)
				for n := range harvested {
					endpoint := make([]byte, 16)
					endpoint[0], endpoint[1] = byte(i), byte(i>>8)
					must("AffiliateUpdate", fmt.Sprintf(`{"clusterId":"c","affiliateId":"%d","affiliateEndpoints":[%q],"ttl":"60s"}`,
						(i+n+1)%machines, base64.StdEncoding.EncodeToString(endpoint)))
				}
			})
		}
		joining.Wait()
		synctest.Wait()
		for i, d := range took {
			if d > 0 {
				t.Errorf("machine %d was published after %v", i, d)
			}
		}
		if stats := f.store.Stats(); stats.Affiliates != machines || stats.Watchers != machines {
			t.Errorf("the store has %+v", stats)
		}
		cancel()
		watching.Wait()
	})
}

// TestFloodOfOneAddressIsBounded calls far more often than an address may. What is
// beyond the rate and cannot wait is refused, and other addresses are served.
func TestFloodOfOneAddressIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeServer(t.Context(), func(o *server.Options) { o.Limits.CallsPerAddress = 0 })
		rate := server.DefaultLimits().PerAddress
		const calls = 20_000
		counts := map[int]int{}
		var mu sync.Mutex
		var all sync.WaitGroup
		for i := range calls {
			all.Go(func() {
				a := f.call(t.Context(), "203.0.113.1", "AffiliateDelete", updateBody(strconv.Itoa(i), "a"))
				mu.Lock()
				defer mu.Unlock()
				counts[a.status]++
			})
		}
		synctest.Wait()
		if a := f.call(t.Context(), "203.0.113.2", "AffiliateUpdate", updateBody("another", "a")); a.status != http.StatusOK || a.after != 0 {
			t.Errorf("another address: %+v", a)
		}
		all.Wait()
		want := rate.Burst + 10*int(rate.PerSecond)
		if counts[http.StatusOK] != want || counts[http.StatusTooManyRequests] != calls-want {
			t.Errorf("%v, want %d served", counts, want)
		}
	})
}

func TestWatchesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeServer(t.Context(), func(o *server.Options) { o.Limits.WatchesPerAddress, o.Limits.Watches = 3, 5 })
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var open sync.WaitGroup
		expect := func(from string, n, want int) {
			t.Helper()
			before := f.store.Stats().Watchers
			for range n {
				open.Go(func() { f.watch(ctx, from, "c") })
			}
			synctest.Wait()
			if got := f.store.Stats().Watchers - before; got != want {
				t.Errorf("%d watches of %s are open, want %d", got, from, want)
			}
		}
		expect("[2001:db8::1]", 2, 2)
		expect("[2001:db8::2]", 2, 1) // of the same /64
		expect("[2001:db8:0:1::1]", 3, 2)
		expect("203.0.113.1", 1, 0)
		cancel()
		open.Wait()
		ctx, cancel = context.WithCancel(t.Context())
		expect("203.0.113.1", 4, 3)
		cancel()
		open.Wait()
	})
}

// TestWaitMayBeLongerThanARequestMayTakeToArrive waits for 11 seconds by HTTP/1.1, whose
// requests have to arrive within 10.
func TestWaitMayBeLongerThanARequestMayTakeToArrive(t *testing.T) {
	t.Parallel()
	url, _ := start(t, func(o *server.Options) {
		o.Limits.PerAddress = server.Rate{PerSecond: 1. / 11, Burst: 1}
		o.Limits.MaxWait = 12 * time.Second
	})
	client := serverpbconnect.NewClusterClient(http.DefaultClient, url)
	for i := range 2 {
		if _, err := client.List(t.Context(), connect.NewRequest(&serverpb.ListRequest{ClusterId: "c"})); err != nil {
			t.Errorf("call %d: %v", i, err)
		}
	}
}

func TestCallsThatWaitAreMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// With one rate: calls at once may take their turns at two rates in another order.
		f := newFakeServer(t.Context(), func(o *server.Options) { slow(o); o.Limits.PerCluster = server.Rate{} })
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() { f.call(t.Context(), "203.0.113.1", "List", `{"clusterId":"c"}`) })
		}
		synctest.Wait()
		metrics := func() string {
			w := httptest.NewRecorder()
			f.handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
			return w.Body.String()
		}
		if text := metrics(); !strings.Contains(text, "spanctl_discovery_waiting_calls 3\n") || !strings.Contains(text, "spanctl_discovery_wait_seconds_sum 6\n") {
			t.Errorf("metrics are\n%s", text)
		}
		all.Wait()
		if text := metrics(); !strings.Contains(text, "spanctl_discovery_waiting_calls 0\n") {
			t.Errorf("metrics are\n%s", text)
		}
	})
}
