package agent

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/agentpb/agentpbconnect"
	"github.com/spanmesh/span/reconciler/resource"
)

// dial opens a connection.
func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// awaitClosed waits until the other end of a connection has closed it.
func awaitClosed(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	_, err := io.Copy(io.Discard, conn)
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		t.Error("the connection stays open")
	}
}

// ask sends a call with a token on a connection that stays open, and returns the answer.
func ask(t *testing.T, conn net.Conn, token string) (status int, text string) {
	t.Helper()
	if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\nAuthorization: Bearer %s\r\n\r\n{}",
		agentpbconnect.AgentServiceGetHealthProcedure, token); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(data)
}

// TestStrangersOfTheAPIAreClosed has connections that show no token.
func TestStrangersOfTheAPIAreClosed(t *testing.T) {
	a := newReadAPI(t)
	a.serve(t)
	for name, send := range map[string]string{
		"silent":                  "",
		"half a header":           "POST / HTTP/1.1\r\nHost: x\r\n",
		"HTTP/2 without requests": http2.ClientPreface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := dial(t, a.address)
			if _, err := io.WriteString(conn, send); err != nil {
				t.Fatal(err)
			}
			awaitClosed(t, conn)
		})
	}
	t.Run("another token by HTTP/1.1", func(t *testing.T) {
		t.Parallel()
		conn := dial(t, a.address)
		if status, text := ask(t, conn, otherToken); status != http.StatusUnauthorized {
			t.Errorf("the answer is %d %s", status, text)
		}
		awaitClosed(t, conn)
	})
	t.Run("another token after the right one", func(t *testing.T) {
		t.Parallel()
		conn := dial(t, a.address)
		if status, text := ask(t, conn, goodToken); status != http.StatusOK {
			t.Errorf("the answer is %d %s", status, text)
		}
		if status, _ := ask(t, conn, otherToken); status != http.StatusUnauthorized {
			t.Errorf("the answer is %d", status)
		}
		awaitClosed(t, conn)
	})
	t.Run("another token by HTTP/2", func(t *testing.T) {
		t.Parallel()
		conn := dial(t, a.address)
		if !isToldToGo(t, conn) {
			t.Error("there is no GOAWAY")
		}
		awaitClosed(t, conn)
	})
}

// isToldToGo sends a request without a token by HTTP/2, and reports whether the answer is GOAWAY, too.
func isToldToGo(t *testing.T, conn net.Conn) bool {
	t.Helper()
	var block strings.Builder
	fields := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":authority", "x"}, {":path", agentpbconnect.AgentServiceGetHealthProcedure}, {"content-type", "application/json"}} {
		if err := fields.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			t.Fatal(err)
		}
	}
	frames := http2.NewFramer(conn, conn)
	_, err := io.WriteString(conn, http2.ClientPreface)
	if err = errors.Join(err, frames.WriteSettings(),
		frames.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte(block.String()), EndStream: true, EndHeaders: true})); err != nil {
		t.Fatal(err)
	}
	for {
		frame, err := frames.ReadFrame()
		if err != nil {
			return false
		}
		if _, is := frame.(*http2.GoAwayFrame); is {
			return true
		}
	}
}

// TestStrangersDoNotKeepOthersOut opens more connections without the token than have place, beside one
// that watches.
func TestStrangersDoNotKeepOthersOut(t *testing.T) {
	a := newReadAPI(t)
	a.serve(t)
	stream, err := a.client(t, goodToken, connect.WithGRPC()).Watch(t.Context(), connect.NewRequest(&agentpb.WatchRequest{Type: "members"}))
	if err != nil || !stream.Receive() {
		t.Fatalf("nothing comes: %v, %v", err, stream.Err())
	}
	strangers := make([]net.Conn, 2*maxStrangers)
	for i := range strangers {
		strangers[i] = dial(t, a.address)
	}
	if status, text := ask(t, dial(t, a.address), goodToken); status != http.StatusOK {
		t.Errorf("beside strangers the answer is %d %s", status, text)
	}
	awaitClosed(t, strangers[0])
	a.runner.store.Replace(time.Now(), resource.Members, map[string]any{"new": resource.Member{Hostname: "new"}})
	for stream.Receive() {
		for _, e := range stream.Msg().GetEvents() {
			if e.GetResource().GetMetadata().GetId() == "new" {
				return
			}
		}
	}
	t.Errorf("the stream ends with %v", stream.Err())
}

// TestConnectionsWithTheToken opens one connection more than may be.
func TestConnectionsWithTheToken(t *testing.T) {
	a := newReadAPI(t)
	a.serve(t)
	var first net.Conn
	for range maxAPIConns {
		conn := dial(t, a.address)
		if status, text := ask(t, conn, goodToken); status != http.StatusOK {
			t.Fatalf("the answer is %d %s", status, text)
		}
		if first == nil {
			first = conn
		}
	}
	conn := dial(t, a.address)
	if status, text := ask(t, conn, goodToken); status != http.StatusTooManyRequests || !strings.Contains(text, "64 connections are open") {
		t.Errorf("one too many is answered with %d %s", status, text)
	}
	awaitClosed(t, conn)
	if status, text := ask(t, first, goodToken); status != http.StatusOK {
		t.Errorf("one of before is answered with %d %s", status, text)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(time.Minute); ; { // the agent sees it closed
		if status, _ := ask(t, dial(t, a.address), goodToken); status == http.StatusOK {
			return
		}
		if time.Now().After(until) {
			t.Fatal("there is no place once one is closed")
		}
	}
}
