package server_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/discoveryhttp/server"
)

// TestTTLIsTakenAsSiderosServiceDoes has updates with each kind of TTL. An update without
// one is taken, and expires at once.
func TestTTLIsTakenAsSiderosServiceDoes(t *testing.T) {
	for name, c := range map[string]struct {
		ttl    string
		status int
		// lives is how long the affiliate lives.
		lives time.Duration
	}{
		"absent":       {"", http.StatusOK, 0},
		"null":         {`,"ttl":null`, http.StatusOK, 0},
		"zero":         {`,"ttl":"0s"`, http.StatusOK, 0},
		"negative":     {`,"ttl":"-5s"`, http.StatusOK, 0},
		"shorter":      {`,"ttl":"60s"`, http.StatusOK, time.Minute},
		"the longest":  {`,"ttl":"1800s"`, http.StatusOK, 30 * time.Minute},
		"too long":     {`,"ttl":"1801s"`, http.StatusBadRequest, 0},
		"far too long": {`,"ttl":"3153600000s"`, http.StatusBadRequest, 0},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeServer(t.Context())
			body := fmt.Sprintf(`{"clusterId":"c","affiliateId":"a","affiliateData":"AAEC"%s}`, c.ttl)
			a := f.call(t.Context(), "203.0.113.1", "AffiliateUpdate", body)
			if a.status != c.status {
				t.Fatalf("%+v", a)
			}
			if c.status != http.StatusOK {
				return
			}
			if n := f.store.Stats().Affiliates; n != 1 {
				t.Errorf("%d affiliates after the update", n)
			}
			for _, at := range []struct {
				after time.Duration
				want  int
			}{{c.lives - 10*time.Second, 1}, {c.lives + 10*time.Second, 0}} {
				if at.after < 0 {
					continue
				}
				if err := f.store.Expire(time.Now().Add(at.after)); err != nil || f.store.Stats().Affiliates != at.want {
					t.Errorf("after %v there are %+v, %v", at.after, f.store.Stats(), err)
				}
			}
		})
	}
}

// TestEmptyDataIsNoData publishes an affiliate, and then an endpoint of it by an update
// whose data has no bytes. The data stays.
func TestEmptyDataIsNoData(t *testing.T) {
	f := newFakeServer(t.Context())
	for _, body := range []string{
		updateBody("c", "a"),
		`{"clusterId":"c","affiliateId":"a","affiliateData":"","affiliateEndpoints":["AQ=="],"ttl":"60s"}`,
	} {
		if a := f.call(t.Context(), "203.0.113.1", "AffiliateUpdate", body); a.status != http.StatusOK {
			t.Fatalf("%+v", a)
		}
	}
	a := f.call(t.Context(), "203.0.113.1", "List", `{"clusterId":"c"}`)
	if want := `{"affiliates":[{"id":"a","data":"AAEC","endpoints":["AQ=="]}]}`; a.body != want {
		t.Errorf("the list is %s, want %s", a.body, want)
	}
}

func TestClientAddressCanBeHidden(t *testing.T) {
	shown := newFakeServer(t.Context()).call(t.Context(), "203.0.113.1", "Hello", `{"clusterId":"c"}`)
	hidden := newFakeServer(t.Context(), hideAddress).call(t.Context(), "203.0.113.1", "Hello", `{"clusterId":"c"}`)
	if shown.body != `{"clientIp":"ywBxAQ=="}` || hidden.body != `{}` {
		t.Errorf("shown: %s, hidden: %s", shown.body, hidden.body)
	}
}

func hideAddress(o *server.Options) { o.HideClientAddress = true }

// TestShorterTTLShortensALife refreshes an affiliate with a shorter TTL, and one with none.
func TestShorterTTLShortensALife(t *testing.T) {
	f := newFakeServer(t.Context())
	for _, body := range []string{
		`{"clusterId":"c","affiliateId":"shorter","affiliateData":"AAEC","ttl":"1800s"}`,
		`{"clusterId":"c","affiliateId":"shorter","affiliateData":"AAEC","ttl":"600s"}`,
		`{"clusterId":"c","affiliateId":"none","affiliateData":"AAEC","ttl":"1800s"}`,
		`{"clusterId":"c","affiliateId":"none","affiliateData":"AAEC"}`,
	} {
		if a := f.call(t.Context(), "203.0.113.1", "AffiliateUpdate", body); a.status != http.StatusOK {
			t.Fatalf("%+v", a)
		}
	}
	for _, c := range []struct {
		after time.Duration
		want  int
	}{{0, 1}, {9 * time.Minute, 1}, {11 * time.Minute, 0}} {
		if err := f.store.Expire(time.Now().Add(c.after)); err != nil || f.store.Stats().Affiliates != c.want {
			t.Errorf("after %v there are %+v, %v", c.after, f.store.Stats(), err)
		}
	}
}

// TestEmptyAffiliateIsKept publishes an affiliate of nothing.
func TestEmptyAffiliateIsKept(t *testing.T) {
	f := newFakeServer(t.Context())
	if a := f.call(t.Context(), "203.0.113.1", "AffiliateUpdate", `{"clusterId":"c","affiliateId":"a","ttl":"600s"}`); a.status != http.StatusOK {
		t.Fatalf("%+v", a)
	}
	if err := f.store.Expire(time.Now().Add(9 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	if a := f.call(t.Context(), "203.0.113.1", "List", `{"clusterId":"c"}`); a.body != `{"affiliates":[{"id":"a"}]}` {
		t.Errorf("the list is %s", a.body)
	}
}

// TestOfTooManyEndpointsThoseThatFitAreKept has an update with data and more endpoints than an
// affiliate may have.
func TestOfTooManyEndpointsThoseThatFitAreKept(t *testing.T) {
	for name, c := range map[string]struct {
		endpoints []byte
		status    int
		kept      int
	}{
		"as many as fit":                {[]byte{1, 2, 3, 4}, http.StatusOK, 4},
		"one too many":                  {[]byte{1, 2, 3, 4, 5}, http.StatusTooManyRequests, 4},
		"many too many":                 {[]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, http.StatusTooManyRequests, 4},
		"many that are the same":        {[]byte{1, 1, 1, 1, 1, 1, 1, 1, 2}, http.StatusOK, 2},
		"the same, and then too many":   {[]byte{1, 1, 1, 1, 1, 1, 2, 3, 4, 5, 6}, http.StatusTooManyRequests, 4},
		"too many, and then one of old": {[]byte{1, 2, 3, 4, 5, 1}, http.StatusTooManyRequests, 4},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeServer(t.Context(), func(o *server.Options) { o.Limits.Store.Endpoints = 4 })
			var endpoints []string
			for _, e := range c.endpoints {
				endpoints = append(endpoints, strconv.Quote(base64.StdEncoding.EncodeToString([]byte{e})))
			}
			body := fmt.Sprintf(`{"clusterId":"c","affiliateId":"a","affiliateData":"AAEC","affiliateEndpoints":[%s],"ttl":"60s"}`, strings.Join(endpoints, ","))
			if a := f.call(t.Context(), "203.0.113.1", "AffiliateUpdate", body); a.status != c.status {
				t.Errorf("%+v", a)
			}
			list := f.call(t.Context(), "203.0.113.1", "List", `{"clusterId":"c"}`).body
			if !strings.Contains(list, `"data":"AAEC"`) || strings.Count(list, "==") != c.kept {
				t.Errorf("the list is %s, want the data and %d endpoints", list, c.kept)
			}
		})
	}
}
