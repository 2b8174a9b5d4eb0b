package stream

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// ErrNoUpgrade is that of a request that does not ask for a stream of packets. It was answered.
var ErrNoUpgrade = errors.New("stream: the request asks for no stream of packets")

// Accept answers a request for a stream, and takes its connection over. After an error, the request
// is answered or its connection closed.
func Accept(w http.ResponseWriter, r *http.Request) (*Conn, error) {
	if r.Method != http.MethodGet || r.ProtoMajor != 1 || !asksFor(r.Header) {
		w.Header().Set("Upgrade", Protocol)
		w.Header().Set("Connection", "Upgrade")
		http.Error(w, "this is the stream of a relay: GET by HTTP/1.1 with Upgrade: "+Protocol, http.StatusUpgradeRequired)
		return nil, ErrNoUpgrade
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "the connection cannot be taken over", http.StatusInternalServerError)
		return nil, fmt.Errorf("stream: take over the connection: %w", err)
	}
	early, err := greet(conn, buffered.Reader)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("stream: answer the request: %w", err), conn.Close())
	}
	return newConn(conn, conn, early, usual), nil
}

// greet answers, and returns what the client has sent early.
func greet(conn net.Conn, buffered *bufio.Reader) (early []byte, err error) {
	if err := conn.SetDeadline(time.Now().Add(usual.stuck)); err != nil {
		return nil, err
	}
	if n := buffered.Buffered(); n > 0 {
		early = make([]byte, n)
		if _, err := io.ReadFull(buffered, early); err != nil {
			return nil, err
		}
	}
	_, err = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+Protocol+"\r\n\r\n")
	return early, err
}

// asksFor reports whether a header asks for the protocol.
func asksFor(h http.Header) bool {
	return hasToken(h.Values("Connection"), "upgrade") && hasToken(h.Values("Upgrade"), Protocol)
}

func hasToken(values []string, token string) bool {
	for _, one := range strings.Split(strings.Join(values, ","), ",") {
		if strings.EqualFold(strings.TrimSpace(one), token) {
			return true
		}
	}
	return false
}
