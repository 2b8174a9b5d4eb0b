package cli

import (
	"log/slog"
	"net"
	"strings"
	"testing"
)

// TestOpenSTUN has the values of --stun-listen, and a port that another program has.
func TestOpenSTUN(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	open := func(flag string) ([]*net.UDPConn, string, error) {
		var log strings.Builder
		f := &serveOptions{stunListen: flag}
		conns, err := f.openSTUN(t.Context(), []net.Listener{listener}, nil, slog.New(slog.NewTextHandler(&log, nil)))
		return conns, log.String(), err
	}
	if conns, log, err := open(stunOff); len(conns) != 0 || log != "" || err != nil {
		t.Errorf("off: %v, %q, %v", conns, log, err)
	}
	same, log, err := open(stunSame)
	if len(same) != 1 || log != "" || err != nil || same[0].LocalAddr().String() != listener.Addr().String() {
		t.Fatalf("same: %v, %q, %v", same, log, err)
	}
	defer func() { _ = same[0].Close() }()
	if conns, log, err := open(stunSame); len(conns) != 0 || !strings.Contains(log, "address already in use") || err != nil {
		t.Errorf("same, and the port is in use: %v, %q, %v", conns, log, err)
	}
	if _, _, err := open(listener.Addr().String()); err == nil || !strings.Contains(err.Error(), "--stun-listen "+listener.Addr().String()) {
		t.Errorf("an address that is in use: %v", err)
	}
	other, _, err := open("127.0.0.1:0")
	if len(other) != 1 || err != nil {
		t.Fatalf("another port: %v, %v", other, err)
	}
	_ = other[0].Close()
}
