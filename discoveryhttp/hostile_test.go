package discoveryhttp_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/spanmesh/span/discoveryhttp"
	"github.com/spanmesh/span/discoveryhttp/server"
	"github.com/spanmesh/span/reconciler/condition"
)

// hostile is a service that answers what a test wants, in HTTP/1.1 and in HTTP/2 without TLS.
type hostile struct {
	*httptest.Server

	mu sync.Mutex
	// calls are the headers of the calls, by method.
	calls map[string][]http.Header
}

// answer writes the answer to a call of a method such as Watch.
type answer func(method string, w http.ResponseWriter)

func newHostile(t *testing.T, a answer) *hostile {
	h := &hostile{calls: map[string][]http.Header{}}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		method := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		h.mu.Lock()
		h.calls[method] = append(h.calls[method], r.Header)
		h.mu.Unlock()
		a(method, w)
	})
	h.Server = httptest.NewUnstartedServer(handler)
	h.Config.Protocols = new(http.Protocols)
	h.Config.Protocols.SetHTTP1(true)
	h.Config.Protocols.SetUnencryptedHTTP2(true)
	h.Start()
	t.Cleanup(h.Close)
	return h
}

// hello returns the headers of the first call of Hello.
func (h *hostile) hello() (http.Header, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.calls["Hello"]) == 0 {
		return nil, false
	}
	return h.calls["Hello"][0], true
}

// grpcAnswer writes messages as gRPC does, each with its flags.
func grpcAnswer(w http.ResponseWriter, flags byte, messages ...[]byte) {
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/grpc")
	}
	w.Header().Set("Trailer", "Grpc-Status")
	for _, m := range messages {
		head := binary.BigEndian.AppendUint32([]byte{flags}, uint32(len(m)))
		_, _ = w.Write(append(head, m...))
	}
	w.Header().Set("Grpc-Status", "0")
}

func zipped(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(data)
	_ = w.Close()
	return b.Bytes()
}

// join returns a client of the hostile service.
func (h *hostile) join(t *testing.T, protocol discoveryhttp.Protocol) *member {
	s := &service{t: t}
	return s.join("a", func(o *discoveryhttp.Options) { o.Endpoints, o.Protocol = []string{h.URL}, protocol })
}

// awaitLog waits until the log has a text a number of times.
func (m *member) awaitLog(text string, times int) {
	m.t.Helper()
	deadline := time.After(30 * time.Second)
	for strings.Count(m.log.String(), text) < times {
		select {
		case <-m.log.grown:
		case <-deadline:
			m.t.Fatalf("the log has not %d of %q:\n%s", times, text, m.log)
		}
	}
}

// emptyAffiliates is a message of an affiliate in two bytes, many times.
func emptyAffiliates(n int) []byte { return bytes.Repeat([]byte{0x0a, 0}, n) }

func TestCompressedAnswersAreRefused(t *testing.T) {
	bomb := zipped(emptyAffiliates(1 << 20))
	for _, c := range []struct {
		name     string
		protocol discoveryhttp.Protocol
		answer   answer
	}{
		{"a frame of gRPC, with the header", discoveryhttp.GRPC, func(_ string, w http.ResponseWriter) {
			w.Header().Set("Grpc-Encoding", "gzip")
			grpcAnswer(w, 1, bomb)
		}},
		{"a frame of gRPC, without the header", discoveryhttp.GRPC, func(_ string, w http.ResponseWriter) { grpcAnswer(w, 1, bomb) }},
		{"another encoding", discoveryhttp.GRPC, func(_ string, w http.ResponseWriter) {
			w.Header().Set("Grpc-Encoding", "zstd")
			grpcAnswer(w, 0, nil)
		}},
		{"the whole body of gRPC", discoveryhttp.GRPC, func(_ string, w http.ResponseWriter) {
			w.Header().Set("Content-Encoding", "gzip")
			grpcAnswer(w, 0, bomb)
		}},
		{"an answer to Connect", discoveryhttp.Connect, func(_ string, w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/proto")
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb)
		}},
		{"an error of Connect", discoveryhttp.Connect, func(_ string, w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Encoding", "gzip")
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write(zipped(bytes.Repeat([]byte(" "), 1<<20)))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHostile(t, c.answer)
			m := h.join(t, c.protocol)
			if err := m.Fetch(t.Context()); err == nil || !strings.Contains(err.Error(), "compressed") {
				t.Errorf("got %v", err)
			}
			header, _ := h.hello()
			for _, name := range []string{"Accept-Encoding", "Grpc-Accept-Encoding", "Connect-Accept-Encoding"} {
				if got := header.Get(name); got != "" && got != "identity" {
					t.Errorf("%s: %s", name, got)
				}
			}
		})
	}
}

// The first message of a watch is hostile.
func TestHostileMessagesAreRefused(t *testing.T) {
	affiliate := func(id string, endpoints int, endpoint []byte) []byte {
		var a []byte
		a = protowire.AppendBytes(protowire.AppendTag(a, 1, protowire.BytesType), []byte(id))
		for range endpoints {
			a = protowire.AppendBytes(protowire.AppendTag(a, 3, protowire.BytesType), endpoint)
		}
		return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), a)
	}
	for _, c := range []struct {
		name, want string
		message    []byte
	}{
		{"empty affiliates", "has an affiliate without an ID", emptyAffiliates(1 << 20)},
		{"more affiliates than a message may have", "has more than 16384 affiliates", bytes.Repeat(affiliate("x", 0, nil), 40_000)},
		{"a message that is too long", "sends a message of more than 67108864 bytes", make([]byte, 64<<20+1)},
		{"a long message that is no protobuf", "cannot be decoded", make([]byte, 1<<20)},
		{"a long message of groups", "cannot be decoded", bytes.Repeat([]byte{0x0b}, 1<<20)},
		{"an affiliate that is too long", "sends an affiliate of more than 131072 bytes", affiliate("x", 20_000, make([]byte, 16))},
		{"a field that is longer than its message", "cannot be decoded", append(make([]byte, 0, 1<<20), append([]byte{0x0a, 0xff, 0xff, 0xff, 0x1f}, make([]byte, 1<<19)...)...)},
		{"no protobuf", "not acceptable", []byte{0xff, 0xff}},
		{"an affiliate that is cut off", "not acceptable", []byte{0x0a, 2, 0x0a, 5}},
		{"a group without an end", "not acceptable", []byte{0x0b}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHostile(t, func(method string, w http.ResponseWriter) {
				if method == "Watch" {
					grpcAnswer(w, 0, c.message)
					return
				}
				grpcAnswer(w, 0, nil)
			})
			m := h.join(t, discoveryhttp.GRPC).run()
			m.awaitLog(c.want, 1)
			if codes := m.codes(); codes != string(condition.DiscoveryAnswerRefused) {
				t.Errorf("conditions: %q", codes)
			}
			if n := len(m.Snapshot().Affiliates); n != 0 {
				t.Errorf("knows %d affiliates", n)
			}
		})
	}
	t.Run("an affiliate that no member published does not stop the others", func(t *testing.T) {
		var message []byte
		message = append(message, affiliate("endless", 2000, nil)...)
		message = append(message, affiliate("\x1b]0;x\a", 0, nil)...)
		message = append(message, affiliate("\u202e", 0, nil)...)
		message = append(message, affiliate("\xff", 0, nil)...)
		message = append(message, affiliate(strings.Repeat("x", 300), 0, nil)...)
		h := newHostile(t, func(method string, w http.ResponseWriter) {
			grpcAnswer(w, 0, map[string][]byte{"List": message}[method])
		})
		m := h.join(t, discoveryhttp.GRPC)
		if err := m.Fetch(t.Context()); err != nil {
			t.Fatal(err)
		}
		refused := m.Snapshot().Refused
		if len(refused) != 5 || !strings.Contains(refused["endless"], "has 2000 endpoints") || refused[`"\x1b]0;x\a"`] == "" {
			t.Errorf("refused are %q", refused)
		}
		for id := range refused {
			if strings.ContainsAny(id, "\x1b\a\u202e") || len(id) > 100 {
				t.Errorf("the ID %q is shown", id)
			}
		}
	})
}

// A service that is overloaded says when to call again.
func TestRetryAfterDoesNotHideTheAnswer(t *testing.T) {
	for _, protocol := range []discoveryhttp.Protocol{discoveryhttp.GRPC, discoveryhttp.Connect} {
		s := newHostile(t, func(_ string, w http.ResponseWriter) {
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(http.StatusServiceUnavailable)
		})
		if err := s.join(t, protocol).Fetch(t.Context()); err == nil || !strings.Contains(err.Error(), "503") {
			t.Errorf("%s: got %v", protocol, err)
		}
	}
}

// A service redirects by HTTP.
func TestRedirectsOfHTTP(t *testing.T) {
	var other *hostile
	target := func() *hostile {
		return newHostile(t, func(_ string, w http.ResponseWriter) { grpcAnswer(w, 0, nil) })
	}
	redirect := func(status int, to func() string) *hostile {
		return newHostile(t, func(_ string, w http.ResponseWriter) {
			w.Header().Set("Location", to())
			w.WriteHeader(status)
		})
	}
	t.Run("to another host, which does not get the token", func(t *testing.T) {
		other = target()
		// Another name of this machine.
		from := redirect(http.StatusTemporaryRedirect, func() string {
			u, _ := url.Parse(other.URL)
			return "http://localhost:" + u.Port() + "/sidero.discovery.server.Cluster/Hello"
		})
		_ = from.join(t, discoveryhttp.GRPC).Fetch(t.Context())
		if first, _ := from.hello(); first.Get("Authorization") == "" {
			t.Error("the service itself has no token")
		}
		if second, called := other.hello(); !called || second.Get("Authorization") != "" {
			t.Errorf("called %v, with the token %q", called, second.Get("Authorization"))
		}
	})
	t.Run("by a status that drops the message", func(t *testing.T) {
		from := redirect(http.StatusFound, func() string { return "http://localhost:1/" })
		if err := from.join(t, discoveryhttp.GRPC).Fetch(t.Context()); err == nil || !strings.Contains(err.Error(), "that no call can follow") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("to HTTPS at another port, whose service does not get the token", func(t *testing.T) {
		called := make(chan http.Header, 10)
		secure := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			called <- r.Header
			grpcAnswer(w, 0, nil)
		}))
		secure.EnableHTTP2 = true
		secure.StartTLS()
		t.Cleanup(secure.Close)
		from := redirect(http.StatusPermanentRedirect, func() string { return secure.URL + "/sidero.discovery.server.Cluster/Hello" })
		s := &service{t: t}
		m := s.join("a", func(o *discoveryhttp.Options) {
			o.Endpoints, o.Protocol, o.CA = []string{from.URL}, discoveryhttp.GRPC, certificateOf(secure)
		})
		_ = m.Fetch(t.Context())
		select {
		case header := <-called:
			if token := header.Get("Authorization"); token != "" {
				t.Errorf("called with the token %q", token)
			}
		default:
			t.Errorf("not called; the log is\n%s", m.log)
		}
		if !strings.Contains(m.log.String(), "member_token_sent=false") {
			t.Errorf("the log is\n%s", m.log)
		}
	})
	t.Run("in circles", func(t *testing.T) {
		var from *hostile
		from = redirect(http.StatusPermanentRedirect, func() string { return from.URL })
		if err := from.join(t, discoveryhttp.GRPC).Fetch(t.Context()); err == nil || !strings.Contains(err.Error(), "redirects more than 5 times") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("to plain HTTP, which is not followed", func(t *testing.T) {
		other = target()
		for name, location := range map[string]func() string{
			"http":                   func() string { return other.URL },
			"no TLS by another name": func() string { return strings.Replace(other.URL, "http://", "HTTP://", 1) },
		} {
			t.Run(name, func(t *testing.T) {
				secure := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Location", location())
					w.WriteHeader(http.StatusTemporaryRedirect)
				}))
				secure.EnableHTTP2 = true
				secure.StartTLS()
				t.Cleanup(secure.Close)
				s := &service{t: t}
				m := s.join("a", func(o *discoveryhttp.Options) { o.Endpoints, o.CA = []string{secure.URL}, certificateOf(secure) })
				if err := m.Fetch(t.Context()); err == nil || !strings.Contains(err.Error(), "redirects from https to http://") {
					t.Errorf("got %v", err)
				}
				if _, called := other.hello(); called {
					t.Error("it was called")
				}
			})
		}
	})
}

// The service that another one redirects to is as trusted, and called as safely.
func TestHelloRedirectKeepsTLSAndTheToken(t *testing.T) {
	t.Run("the token", func(t *testing.T) {
		last := serve(t, func(o *server.Options) { o.Auth = server.Member })
		first := serve(t, func(o *server.Options) { o.Auth, o.Redirect = server.Member, last.address })
		a, b := first.join("a").run(), last.join("b").run()
		a.Publish(local("a"))
		b.await("a")
	})
	t.Run("TLS", func(t *testing.T) {
		plain := newHostile(t, func(_ string, w http.ResponseWriter) { grpcAnswer(w, 0, nil) })
		plain.Config.ErrorLog = log.New(io.Discard, "", 0)
		to := []byte(strings.TrimPrefix(plain.URL, "http://"))
		redirect := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), to)
		hello := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), redirect)
		secure := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { grpcAnswer(w, 0, hello) }))
		secure.EnableHTTP2 = true
		secure.StartTLS()
		t.Cleanup(secure.Close)
		s := &service{t: t}
		m := s.join("a", func(o *discoveryhttp.Options) {
			o.Endpoints, o.CA, o.Protocol = []string{secure.URL}, certificateOf(secure), discoveryhttp.GRPC
		})
		if err := m.Fetch(t.Context()); err == nil {
			t.Error("no error, though the other service has no TLS")
		}
		if _, called := plain.hello(); called {
			t.Error("it was called without TLS")
		}
		if !strings.Contains(m.log.String(), "to=https://"+string(to)) {
			t.Errorf("the log is\n%s", m.log)
		}
	})
}

// A service redirects by the answer to Hello.
func TestHelloRedirectsToAHost(t *testing.T) {
	for _, redirect := range []string{"http://127.0.0.1:1", "user@127.0.0.1:1", "127.0.0.1:1/path", "127.0.0.1:1?x", "a\nb", "\x1b[2J", "[::1", "127.0.0.1:port"} {
		s := serve(t, func(o *server.Options) { o.Redirect = redirect })
		if err := s.join("a").Fetch(t.Context()); err == nil || !strings.Contains(err.Error(), "which is not a host with a port") || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%q: got %v", redirect, err)
		}
	}
}
