package ui

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
)

// TestStrangersDoNotKeepThePage has a page open, and many connections of others: some ask for what
// they may not have, the rest says nothing.
func TestStrangersDoNotKeepThePage(t *testing.T) {
	w := newWorld(t, false)
	w.enter()
	address := strings.TrimPrefix(w.base, "http://")
	for i := range 3 * maxEntered {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if i%3 > 0 {
			continue
		}
		if _, err := io.WriteString(conn, "GET /api/session HTTP/1.1\r\nHost: "+address+"\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(conn)
		response, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		if _, err := r.ReadByte(); response.StatusCode != http.StatusUnauthorized || !response.Close || !errors.Is(err, io.EOF) {
			t.Fatalf("a stranger is answered with %s, and then reads %v", response.Status, err)
		}
	}
	reused := false
	r, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { reused = info.Reused }}),
		http.MethodGet, w.base+"/api/session", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := w.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK || !reused {
		t.Errorf("the page is answered with %s, on its own connection: %t", response.Status, reused)
	}
}
