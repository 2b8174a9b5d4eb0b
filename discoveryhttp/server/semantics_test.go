package server_test

import (
	"fmt"
	"net/http"
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
