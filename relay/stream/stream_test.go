package stream

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"testing/synctest"
	"time"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// start serves streams, whose server ends come by a channel.
func start(t testing.TB, secure bool) (target string, config *tls.Config, accepted chan *Conn) {
	t.Helper()
	accepted = make(chan *Conn, 10)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != Path {
			http.NotFound(w, r)
			return
		}
		if c, err := Accept(w, r); err == nil {
			accepted <- c
		}
	}))
	t.Cleanup(server.Close)
	if !secure {
		server.Start()
		return server.URL + Path, nil, accepted
	}
	server.EnableHTTP2 = true
	server.StartTLS()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return server.URL + Path, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, accepted
}

// ends returns both ends of a stream.
func ends(t testing.TB, secure bool) (client, server *Conn) {
	t.Helper()
	target, config, accepted := start(t, secure)
	client, err := Dial(t.Context(), target, config)
	if err != nil {
		t.Fatal(err)
	}
	server = <-accepted
	t.Cleanup(func() { _, _ = client.Close(), server.Close() })
	return client, server
}

func TestPackets(t *testing.T) {
	for name, secure := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			client, server := ends(t, secure)
			for _, pair := range [][2]*Conn{{client, server}, {server, client}} {
				var want [][]byte
				for _, size := range []int{1, 32, 148, 1452, 9000, MaxPacket} {
					p := bytes.Repeat([]byte{byte(size)}, size)
					want = append(want, p)
					if err := pair[0].Send(p); err != nil {
						t.Fatal(err)
					}
				}
				b := make([]byte, MaxPacket)
				for i, p := range want[:3] {
					if n, err := pair[1].Receive(b); err != nil || !bytes.Equal(b[:n], p) {
						t.Fatalf("packet %d: %d bytes, %v", i, n, err)
					}
				}
				var got [][]byte
				for len(got) < len(want)-3 {
					packets, err := pair[1].ReceiveAll(nil)
					if err != nil {
						t.Fatal(err)
					}
					for _, p := range packets {
						got = append(got, bytes.Clone(p))
					}
				}
				for i, p := range want[3:] {
					if !bytes.Equal(got[i], p) {
						t.Fatalf("packet %d has %d bytes, want %d", i+3, len(got[i]), len(p))
					}
				}
			}
			_ = client.Close()
			if _, err := server.Receive(make([]byte, 10)); err == nil {
				t.Error("a closed stream has a packet")
			}
			if err := client.Send([]byte("x")); err == nil {
				t.Error("a closed stream takes a packet")
			}
		})
	}
}

// pipe returns both ends of a stream with other times.
func pipe(t *testing.T, in times) (one, other *Conn) {
	t.Helper()
	a, b := net.Pipe()
	one, other = newConn(a, a, nil, in), newConn(b, b, nil, in)
	t.Cleanup(func() { _, _ = one.Close(), other.Close() })
	return one, other
}

// TestSendDoesNotWait has an end that reads nothing. The other drops what it cannot send, and is
// closed after a time.
func TestSendDoesNotWait(t *testing.T) {
	in := usual
	in.stuck = 200 * time.Millisecond
	one, _ := pipe(t, in)
	for one.Send(make([]byte, 1400)) == nil {
	}
	if _, dropped := one.Counts(); dropped == 0 {
		t.Error("nothing was dropped")
	}
}

// TestIdle has both ends send nothing: the stream stays, since each shows that it is there.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, other := pipe(t, usual)
		got := make(chan int, 2)
		for _, c := range []*Conn{one, other} {
			go func() {
				n, _ := c.Receive(make([]byte, 10))
				got <- n
			}()
		}
		time.Sleep(10 * usual.dead)
		_, _ = one.Send([]byte("late")), other.Send([]byte("late"))
		if a, b := <-got, <-got; a != 4 || b != 4 {
			t.Errorf("got %d and %d bytes", a, b)
		}
		_, _ = one.Close(), other.Close()
	})
}

// TestSilent has an end that sends nothing at all.
func TestSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		c := newConn(a, a, nil, usual)
		go func() { _, _ = io.Copy(io.Discard, b) }()
		started := time.Now()
		if _, err := c.Receive(make([]byte, 10)); !isTimeout(err) || time.Since(started) != usual.dead {
			t.Errorf("Receive: %v after %v", err, time.Since(started))
		}
		<-c.Done()
		_ = b.Close()
	})
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// TestDialFails has servers without a stream, and a caller that gives up.
func TestDialFails(t *testing.T) {
	target, config, _ := start(t, true)
	_, err := Dial(t.Context(), target+"/else", config)
	if status, is := errors.AsType[*StatusError](err); !is || status.Code != http.StatusNotFound {
		t.Errorf("another path: %v", err)
	}
	if _, err = Dial(t.Context(), target, nil); err == nil {
		t.Error("a certificate that is not trusted is")
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	started := time.Now()
	if _, err = Dial(ctx, "http://secret:word@"+silent.Addr().String()+Path, nil); err == nil || time.Since(started) > patience/2 {
		t.Errorf("a server that says nothing: %v after %v", err, time.Since(started))
	} else if bytes.Contains([]byte(err.Error()), []byte("word")) {
		t.Errorf("the error has the password: %v", err)
	}
}

// TestOutlivesItsContext has a stream that stays after the context of its dial has ended.
func TestOutlivesItsContext(t *testing.T) {
	target, config, accepted := start(t, true)
	ctx, cancel := context.WithCancel(t.Context())
	client, err := Dial(ctx, target, config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	cancel()
	server := <-accepted
	defer func() { _ = server.Close() }()
	if err := client.Send([]byte("there")); err != nil {
		t.Fatal(err)
	}
	if n, err := server.Receive(make([]byte, 10)); n != 5 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// TestProxy goes through a proxy of HTTP.
func TestProxy(t *testing.T) {
	target, config, accepted := start(t, true)
	asked := make(chan string, 1)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Method
		to, err := net.Dial("tcp", r.Host)
		if err != nil {
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(to, conn); _ = to.Close() }()
		_, _ = io.Copy(conn, to)
		_ = conn.Close()
	}))
	defer proxy.Close()
	d := Dialer{TLS: config, Proxy: func(*http.Request) (*url.URL, error) { return url.Parse(proxy.URL) }}
	client, err := d.Open(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	server := <-accepted
	defer func() { _, _ = client.Close(), server.Close() }()
	if method := <-asked; method != http.MethodConnect {
		t.Errorf("the proxy was asked by %s", method)
	}
	if err := server.Send([]byte("there")); err != nil {
		t.Fatal(err)
	}
	if n, err := client.Receive(make([]byte, 10)); n != 5 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// TestNoUpgrade answers requests that ask for no stream.
func TestNoUpgrade(t *testing.T) {
	target, _, _ := start(t, false)
	for name, change := range map[string]func(*http.Request){
		"no header":        func(*http.Request) {},
		"another protocol": func(r *http.Request) { r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}} },
		"another method": func(r *http.Request) {
			r.Method, r.Header = http.MethodPost, http.Header{"Connection": {"Upgrade"}, "Upgrade": {Protocol}}
		},
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		change(request)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusUpgradeRequired || response.Header.Get("Upgrade") != Protocol {
			t.Errorf("%s: %s, %v", name, response.Status, response.Header)
		}
	}
}

// fed is a connection that has bytes to read, in pieces.
type fed struct {
	*bytes.Reader
	piece int
}

func (f fed) Read(b []byte) (int, error)     { return f.Reader.Read(b[:min(len(b), f.piece)]) }
func (fed) Write(b []byte) (int, error)      { return len(b), nil }
func (fed) Close() error                     { return nil }
func (fed) SetReadDeadline(time.Time) error  { return nil }
func (fed) SetWriteDeadline(time.Time) error { return nil }

// FuzzFrames reads any bytes as frames, in pieces of any size.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{0, 3, 'a', 'b', 'c', 0, 0, 0, 1, 'd'}, 1, 1)
	f.Add([]byte{0xff, 0xff, 1}, 10, 2)
	f.Add([]byte{0x40, 0, 1, 2}, 3, 5)
	f.Fuzz(func(t *testing.T, data []byte, piece, early int) {
		piece, early = max(1, piece%5000), min(len(data), max(0, early%5000))
		from := fed{bytes.NewReader(data[early:]), piece}
		c := newConn(from, from, data[:early], usual)
		defer func() { _ = c.Close() }()
		var got []byte
		for {
			packets, err := c.ReceiveAll(nil)
			if err != nil {
				break
			}
			for _, p := range packets {
				if len(p) == 0 || len(p) > MaxPacket {
					t.Fatalf("a packet of %d bytes", len(p))
				}
				got = append(got, p...)
			}
		}
		if want := packetsIn(data); !bytes.Equal(got, want) {
			t.Errorf("got %d bytes of packets, want %d", len(got), len(want))
		}
	})
}

// packetsIn returns the bytes of the packets of complete frames, up to one that is too long.
func packetsIn(data []byte) (all []byte) {
	for len(data) >= 2 {
		n := int(data[0])<<8 | int(data[1])
		if n > MaxPacket || len(data) < 2+n {
			break
		}
		all, data = append(all, data[2:2+n]...), data[2+n:]
	}
	return all
}

func BenchmarkStream(b *testing.B) {
	for name, secure := range map[string]bool{"plain": false, "TLS": true} {
		b.Run(name, func(b *testing.B) {
			client, server := ends(b, secure)
			packet := make([]byte, 1452)
			b.SetBytes(int64(len(packet)))
			done := make(chan error, 1)
			const window = queue / 2
			acknowledged := make(chan int, b.N/window+1)
			go func() {
				var packets [][]byte
				for got, mark := 0, window; got < b.N; {
					var err error
					if packets, err = server.ReceiveAll(packets); err != nil {
						done <- err
						return
					}
					for got += len(packets); got >= mark; mark += window {
						acknowledged <- mark
					}
				}
				done <- nil
			}()
			for i := range b.N {
				if i >= window && i%window == 0 {
					<-acknowledged
				}
				if err := client.Send(packet); err != nil {
					b.Fatal(err)
				}
			}
			if err := <-done; err != nil {
				b.Fatal(err)
			}
			if _, dropped := client.Counts(); dropped > 0 {
				b.Fatal(fmt.Sprint(dropped, " were dropped"))
			}
		})
	}
}
