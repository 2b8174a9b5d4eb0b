package server

import (
	"bufio"
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// serveOK answers everything with ok, and returns the address.
func serveOK(t *testing.T, idle time.Duration) (address string) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newHTTP(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok") }), webStreams, idle, slog.New(slog.DiscardHandler))
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	t.Cleanup(func() {
		_ = s.Close()
		<-served
	})
	return listener.Addr().String()
}

// askH2 makes a connection of HTTP/2 with a window, and a request whose header is answered.
func askH2(t *testing.T, address string, window uint32) (net.Conn, *http2.Framer) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, f := range []hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: "/"}, {Name: ":authority", Value: "x"}} {
		if err := encoder.WriteField(f); err != nil {
			t.Fatal(err)
		}
	}
	frames := http2.NewFramer(conn, conn)
	_, err = io.WriteString(conn, http2.ClientPreface)
	if err == nil {
		err = frames.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window})
	}
	if err == nil {
		err = frames.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true})
	}
	for err == nil {
		var frame http2.Frame
		if frame, err = frames.ReadFrame(); err == nil && frame.Header().Type == http2.FrameHeaders {
			return conn, frames
		}
	}
	t.Fatal(err)
	return nil, nil
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	address := serveOK(t, 100*time.Millisecond)
	conn, frames := askH2(t, address, 1<<16)
	defer func() { _ = conn.Close() }()
	for {
		if _, err := frames.ReadFrame(); err != nil {
			break
		}
	}
	old, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = old.Close() }()
	if _, err := io.WriteString(old, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	// It ends when the server closes the connection.
	text, err := io.ReadAll(bufio.NewReader(old))
	if err != nil || !bytes.Contains(text, []byte("ok")) {
		t.Errorf("got %q, %v", text, err)
	}
}

func TestCallKeepsItsConnection(t *testing.T) {
	address := serveOK(t, 100*time.Millisecond)
	// Without a window the answer cannot be sent, and the call stays open.
	conn, frames := askH2(t, address, 0)
	defer func() { _ = conn.Close() }()
	// An idle connection is closed after the time. When that has happened, the time has passed for the
	// other one too.
	idle, idleFrames := askH2(t, address, 1<<16)
	defer func() { _ = idle.Close() }()
	for err := error(nil); err == nil; {
		_, err = idleFrames.ReadFrame()
	}
	if err := frames.WriteWindowUpdate(1, 100); err != nil {
		t.Fatal(err)
	}
	for {
		frame, err := frames.ReadFrame()
		if err != nil {
			t.Fatalf("the connection of an open call is closed: %v", err)
		}
		if d, ok := frame.(*http2.DataFrame); ok && string(d.Data()) == "ok\n" {
			return
		}
	}
}

// TestClosedConnectionsAreForgotten closes connections of HTTP/2 whose calls are open.
func TestClosedConnectionsAreForgotten(t *testing.T) {
	const connections, most = 1000, 1 << 20
	address := serveOK(t, idleTimeout)
	heap := func() uint64 {
		runtime.GC()
		runtime.GC() // what pools have goes with the second
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for range connections {
		conn, _ := askH2(t, address, 0)
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
	deadline := time.Now().Add(20 * time.Second)
	for heap() > before+most {
		if time.Now().After(deadline) {
			t.Fatalf("of %d closed connections, %d KiB are kept", connections, (heap()-before)>>10)
		}
	}
}
