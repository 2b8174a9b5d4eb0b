package discoveryhttp_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/spanmesh/span/discoveryhttp"
	"github.com/spanmesh/span/discoveryhttp/payload"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/health"
)

// pipes is a network without sockets: synctest sees who waits there.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	close sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

// Accept implements net.Listener.
func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p *pipes) Close() error {
	p.close.Do(func() { close(p.done) })
	return nil
}

// Addr implements net.Listener.
func (*pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// dial connects to the listener.
func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-p.done:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// fake is a service inside of a synctest bubble.
type fake struct {
	pipes    *pipes
	protocol discoveryhttp.Protocol
	stop     func()
}

// newFake serves what each method does.
func newFake(t *testing.T, methods map[string]http.HandlerFunc) *fake {
	f := &fake{pipes: newPipes(), protocol: discoveryhttp.GRPC}
	s := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if do := methods[r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]]; do != nil {
			do(w, r)
			return
		}
		grpcAnswer(w, 0, nil)
	})}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(f.pipes)
	}()
	f.stop = func() {
		_ = s.Close()
		<-done
	}
	t.Cleanup(f.stop)
	return f
}

// run starts a client of the service.
func (f *fake) run(t *testing.T) *member { return f.join(t).run() }

// join returns a client of the service.
func (f *fake) join(t *testing.T) *member {
	s := &service{t: t}
	return s.join("a", func(o *discoveryhttp.Options) {
		o.Endpoints, o.Protocol, o.Dial = []string{"http://127.0.0.1:1"}, f.protocol, f.pipes.dial
	})
}

// codes returns the conditions of a client.
func (m *member) codes() string {
	var codes []string
	for _, c := range m.conditions() {
		codes = append(codes, string(c.Code))
	}
	return strings.Join(codes, " ")
}

// conditions returns what is wrong with the client's services, as an agent judges it.
func (m *member) conditions() []health.Condition {
	return health.Assess(time.Now(), health.Snapshot{Found: m.Snapshot().Conditions, Sessions: m.Sessions()}, nil)
}

// wait lets time pass until all goroutines of the bubble wait.
func wait(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// watchMessage is an encoded WatchResponse.
func watchMessage(t *testing.T, deleted, more bool, ids ...string) []byte {
	t.Helper()
	cipher, err := payload.NewCipher([32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	var m []byte
	for _, id := range ids {
		a := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), id)
		if !deleted {
			sealed, err := cipher.SealAffiliate(affiliate(id), payload.Stamp{})
			if err != nil {
				t.Fatal(err)
			}
			a = protowire.AppendBytes(protowire.AppendTag(a, 2, protowire.BytesType), sealed)
		}
		m = protowire.AppendBytes(protowire.AppendTag(m, 1, protowire.BytesType), a)
	}
	if deleted {
		m = protowire.AppendVarint(protowire.AppendTag(m, 2, protowire.VarintType), 1)
	}
	if more {
		m = protowire.AppendVarint(protowire.AppendTag(m, 18001, protowire.VarintType), 1)
	}
	return m
}

// stream answers Watch with messages, which tests send, until the client leaves.
func stream(messages <-chan []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		for {
			select {
			case m := <-messages:
				grpcAnswer(w, 0, m)
				_ = http.NewResponseController(w).Flush()
			case <-r.Context().Done():
				return
			}
		}
	}
}

func TestServiceThatSendsNothing(t *testing.T) {
	for name, watch := range map[string]http.HandlerFunc{
		"after the headers":   stream(nil),
		"not even the header": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"but half a message": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			_, _ = w.Write([]byte{0, 0, 0, 1, 0, 1, 2, 3})
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t, map[string]http.HandlerFunc{"Watch": watch})
				f.protocol = discoveryhttp.Auto
				m := f.run(t)
				wait(10 * time.Second)
				if codes := m.codes(); codes != "" {
					t.Errorf("too early: %s", codes)
				}
				wait(10 * time.Second)
				if codes := m.codes(); codes != string(condition.DiscoverySilent) {
					t.Errorf("conditions after 20 s: %q", codes)
				}
				for range 600 {
					wait(time.Second)
					if codes := m.codes(); codes != string(condition.DiscoverySilent) {
						t.Fatalf("conditions while it tries again: %q; its log:\n%s", codes, m.log)
					}
				}
				if !strings.Contains(m.log.String(), "did not send its affiliates within") {
					t.Errorf("the log is\n%s", m.log)
				}
			})
		})
	}
}

// A service sends a part of its affiliates now and then, and never the last.
func TestSnapshotWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		messages := make(chan []byte)
		m := newFake(t, map[string]http.HandlerFunc{"Watch": stream(messages)}).run(t)
		const end = "has not sent all its affiliates within"
		for range 30 {
			wait(50 * time.Second)
			if codes := m.codes(); codes != string(condition.DiscoverySilent) {
				t.Fatalf("conditions: %q; the log:\n%s", codes, m.log)
			}
			if strings.Contains(m.log.String(), end) {
				return
			}
			messages <- watchMessage(t, false, true, "b")
		}
		t.Errorf("the log is\n%s", m.log)
	})
}

func TestConditionsOfAService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		messages := make(chan []byte)
		var takes atomic.Bool
		f := newFake(t, map[string]http.HandlerFunc{
			"Watch": stream(messages),
			"AffiliateUpdate": func(w http.ResponseWriter, _ *http.Request) {
				if takes.Load() {
					grpcAnswer(w, 0, nil)
					return
				}
				w.Header().Set("Content-Type", "application/grpc")
				w.Header().Set("Grpc-Status", "8")
				w.Header().Set("Grpc-Message", "the cluster is full%1b[2J")
			},
		})
		m := f.run(t)
		m.Publish(local("a"))
		messages <- watchMessage(t, false, false, "b")
		wait(2 * time.Second)
		if codes := m.codes(); codes != "" {
			t.Errorf("conditions at the start: %q", codes)
		}
		wait(2 * time.Minute)
		found := m.conditions()
		if m.codes() != string(condition.DiscoveryUnpublished) || !strings.Contains(found[0].Cause, "the cluster is full\ufffd[2J") {
			t.Fatalf("conditions of a full service: %v", found)
		}
		takes.Store(true)
		wait(time.Minute)
		if codes := m.codes(); codes != "" {
			t.Errorf("conditions when it takes the machine: %q", codes)
		}
		f.stop()
		wait(30 * time.Second)
		if codes := m.codes(); codes != "" {
			t.Errorf("conditions of a short outage: %q", codes)
		}
		wait(2 * time.Minute)
		if codes := m.codes(); codes != string(condition.DiscoveryUnreachable) {
			t.Errorf("conditions of an outage: %q", codes)
		}
	})
}

// A stream without news may be one whose other end is gone.
func TestQuietWatchBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		messages, watches := make(chan []byte), atomic.Int32{}
		f := newFake(t, map[string]http.HandlerFunc{"Watch": func(w http.ResponseWriter, r *http.Request) {
			watches.Add(1)
			go func() { messages <- watchMessage(t, false, false, "b") }()
			stream(messages)(w, r)
		}})
		m := f.run(t)
		wait(10 * time.Minute)
		messages <- watchMessage(t, false, false, "c")
		wait(14 * time.Minute)
		if n := watches.Load(); n != 1 {
			t.Errorf("%d watches, though there was news", n)
		}
		wait(3 * time.Minute)
		if n := watches.Load(); n != 2 {
			t.Errorf("%d watches after more than a quarter of an hour without news, want 2", n)
		}
		m.await("b", "c") // the service has to be without c for its TTL
		wait(time.Hour)
		m.await("b")
		if n := strings.Count(m.log.String(), "discovery"); n != 1 {
			t.Errorf("the log has %d lines:\n%s", n, m.log)
		}
	})
}

// Sidero's service announces that a machine is deleted when one of its endpoints expires.
func TestDeletionIsConfirmedByList(t *testing.T) {
	for _, c := range []struct {
		name string
		list func(w http.ResponseWriter, calls int32)
		// want are the machines 10 seconds after the deletion of b, and later 10 minutes after.
		want, later string
	}{
		{"the service still has it", func(w http.ResponseWriter, _ int32) { grpcAnswer(w, 0, watchMessage(t, false, false, "b", "c")) }, "b c", "b c"},
		{"it is gone", func(w http.ResponseWriter, _ int32) { grpcAnswer(w, 0, watchMessage(t, false, false, "c")) }, "c", "c"},
		{"the service does not list", func(w http.ResponseWriter, _ int32) { grpcError(w, "12") }, "c", "c"},
		{"the service lists later, without it", func(w http.ResponseWriter, calls int32) {
			if calls < 4 {
				grpcError(w, "14")
				return
			}
			grpcAnswer(w, 0, watchMessage(t, false, false, "c"))
		}, "b c", "c"},
		{"the service lists later, and still has it", func(w http.ResponseWriter, calls int32) {
			if calls < 8 {
				grpcError(w, "8")
				return
			}
			grpcAnswer(w, 0, watchMessage(t, false, false, "b", "c"))
		}, "b c", "b c"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				messages, calls := make(chan []byte), atomic.Int32{}
				watch := stream(messages)
				f := newFake(t, map[string]http.HandlerFunc{
					"Watch": func(w http.ResponseWriter, r *http.Request) {
						if calls.Load() > 0 {
							grpcError(w, "8") // a second watch, for what List is too short for
							return
						}
						watch(w, r)
					},
					"List": func(w http.ResponseWriter, _ *http.Request) { c.list(w, calls.Add(1)) },
				})
				m := f.run(t)
				messages <- watchMessage(t, false, false, "b", "c")
				wait(time.Second)
				messages <- watchMessage(t, true, false, "b")
				wait(10 * time.Second)
				if got := m.knows(); got != c.want {
					t.Errorf("after 10 s it knows %q, want %q", got, c.want)
				}
				wait(10 * time.Minute)
				if got := m.knows(); got != c.later {
					t.Errorf("after 10 min it knows %q, want %q", got, c.later)
				}
			})
		})
	}
}

// A hundred machines of a thousand go within a minute.
func TestDeletionsAreConfirmedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		messages, calls := make(chan []byte), atomic.Int32{}
		f := newFake(t, map[string]http.HandlerFunc{
			"Watch": stream(messages),
			"List": func(w http.ResponseWriter, _ *http.Request) {
				calls.Add(1)
				grpcAnswer(w, 0, nil)
			},
		})
		m := f.run(t)
		var ids []string
		for i := range 100 {
			ids = append(ids, fmt.Sprintf("node-%03d", i))
		}
		messages <- watchMessage(t, false, false, ids...)
		for _, id := range ids {
			messages <- watchMessage(t, true, false, id)
			wait(600 * time.Millisecond)
		}
		wait(time.Minute)
		if got := m.knows(); got != "" {
			t.Errorf("it knows %s", got)
		}
		if n := calls.Load(); n > 6 {
			t.Errorf("%d calls of List", n)
		}
	})
}

func TestSnapshotInSeveralMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		messages := make(chan []byte)
		f := newFake(t, map[string]http.HandlerFunc{"Watch": stream(messages)})
		m := f.run(t)
		messages <- watchMessage(t, false, true, "b")
		synctest.Wait()
		if s := m.Snapshot(); s.Complete {
			t.Error("complete before the last part")
		}
		messages <- watchMessage(t, false, true)
		messages <- watchMessage(t, false, false, "c")
		synctest.Wait()
		if s := m.Snapshot(); !s.Complete || m.knows() != "b c" {
			t.Errorf("complete %v, knows %s", s.Complete, m.knows())
		}
		m.NetworkChanged()
		wait(2 * time.Second)
		messages <- watchMessage(t, false, true, "b")
		messages <- watchMessage(t, false, false, "d")
		wait(time.Second)
		if got := m.knows(); got != "b c d" {
			t.Errorf("knows %s, though c has time to return", got)
		}
		messages <- watchMessage(t, false, false, "e")
		wait(time.Second)
		if got := m.knows(); got != "b c d e" {
			t.Errorf("knows %s", got)
		}
	})
	t.Run("without an end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			endless := watchMessage(t, false, true)
			f := newFake(t, map[string]http.HandlerFunc{"Watch": func(w http.ResponseWriter, r *http.Request) {
				for r.Context().Err() == nil {
					grpcAnswer(w, 0, endless)
					_ = http.NewResponseController(w).Flush()
				}
			}})
			m := f.run(t)
			wait(5 * time.Second)
			if codes := m.codes(); codes != string(condition.DiscoveryAnswerRefused) {
				t.Errorf("conditions %q", codes)
			}
		})
	})
}

// The affiliates of a large cluster do not fit into one message of gRPC.
func TestListThatIsTooLongIsReadByWatch(t *testing.T) {
	for name, list := range map[string]http.HandlerFunc{
		"the service says so": func(w http.ResponseWriter, _ *http.Request) { grpcError(w, "8") },
		"the answer is too long": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			_, _ = w.Write([]byte{0, 0xff, 0, 0, 0}) // the head of 4 GB
		},
		"the service has no answer": func(w http.ResponseWriter, _ *http.Request) { grpcError(w, "11") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t, map[string]http.HandlerFunc{"List": list, "Watch": func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", "application/grpc")
					for _, m := range [][]byte{watchMessage(t, false, true, "b"), watchMessage(t, false, false, "c")} {
						grpcAnswer(w, 0, m)
					}
					_ = http.NewResponseController(w).Flush()
					<-r.Context().Done()
				}})
				m := f.join(t)
				if err := m.Fetch(t.Context()); err != nil || m.knows() != "b c" {
					t.Errorf("%v, knows %s", err, m.knows())
				}
			})
		})
	}
}

// grpcError answers with a status of gRPC.
func grpcError(w http.ResponseWriter, code string) {
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Grpc-Status", code)
	w.Header().Set("Grpc-Message", "no")
}

// knows returns the IDs that a client knows.
func (m *member) knows() string {
	var ids []string
	for _, a := range m.Snapshot().Affiliates {
		ids = append(ids, a.NodeID)
	}
	return strings.Join(ids, " ")
}
