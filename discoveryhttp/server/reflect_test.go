package server_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/discoveryhttp/reflectpb"
	"github.com/spanmesh/span/discoveryhttp/reflectpb/reflectpbconnect"
	"github.com/spanmesh/span/discoveryhttp/server"
	"github.com/spanmesh/span/reconciler/reflection"
)

// reflects is an option.
func reflects(o *server.Options) { o.Reflect = true }

func reflectAt(ctx context.Context, url string, port int, headers ...string) (*reflectpb.ReflectResponse, error) {
	request := connect.NewRequest(&reflectpb.ReflectRequest{Port: uint32(port)})
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header().Set(headers[i], headers[i+1])
	}
	response, err := reflectpbconnect.NewReflectServiceClient(http.DefaultClient, url).Reflect(ctx, request)
	if err != nil {
		return nil, err
	}
	return response.Msg, nil
}

// TestReflect receives what the server sends, and has it refuse a second try.
func TestReflect(t *testing.T) {
	url, _ := start(t, reflects)
	conn, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	port := conn.LocalAddr().(*net.UDPAddr).Port
	response, err := reflectAt(t.Context(), url, port)
	if err != nil {
		t.Fatal(err)
	}
	address, _ := netip.AddrFromSlice(response.GetAddress())
	if response.GetSent() != 3 || address.String() != "127.0.0.1" {
		t.Errorf("the answer is %v", response)
	}
	nonce := reflection.Nonce(response.GetNonce())
	for number := range uint32(3) {
		got := make([]byte, 100)
		n, _, err := conn.ReadFrom(got)
		if want := reflection.Datagram(nonce, number+1); err != nil || string(got[:n]) != string(want) || n != reflection.Size {
			t.Fatalf("datagram %d is %x, %v, want %x", number, got[:n], err, want)
		}
	}
	_, err = reflectAt(t.Context(), url, port)
	if connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Errorf("a second try: %v", err)
	}
}

func TestReflectIsRefused(t *testing.T) {
	behind, _ := start(t, reflects, func(o *server.Options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	direct, _ := start(t, reflects)
	off, _ := start(t)
	for _, c := range []struct {
		name    string
		url     string
		port    int
		headers []string
		code    connect.Code
		text    string
	}{
		{"no port", direct, 0, nil, connect.CodeInvalidArgument, "port is 0: want 1 to 65535"},
		{"no such port", direct, 65536, nil, connect.CodeInvalidArgument, "port is 65536"},
		{"turned off", off, 1, nil, connect.CodeUnimplemented, ""},
		{"a proxy that is not trusted", direct, 1, []string{"X-Forwarded-For", "192.0.2.1"}, connect.CodeFailedPrecondition, "--trusted-proxies"},
		{"another such header", direct, 1, []string{"X-Real-Ip", "192.0.2.1"}, connect.CodeFailedPrecondition, "--trusted-proxies"},
		{"a proxy that does not tell", behind, 1, nil, connect.CodeFailedPrecondition, "does not tell the address"},
		{"a proxy that the caller has lied to", behind, 1, []string{"X-Forwarded-For", "192.0.2.1", "X-Real-Ip", "192.0.2.2"}, connect.CodeFailedPrecondition, "does not tell the address"},
		{"many machines", behind, 1, []string{"X-Forwarded-For", "224.0.0.1"}, connect.CodeFailedPrecondition, "not known"},
		{"all machines", behind, 1, []string{"X-Forwarded-For", "255.255.255.255"}, connect.CodeFailedPrecondition, "not known"},
		{"a compressed request", direct, 1, []string{"Content-Encoding", "gzip"}, connect.CodeUnimplemented, "compression"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := reflectAt(t.Context(), c.url, c.port, c.headers...)
			if connect.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.text) {
				t.Errorf("the error is %v, want %v: %s", err, c.code, c.text)
			}
		})
	}
}

func TestReflectRates(t *testing.T) {
	admit := server.New(t.Context(), options([]func(*server.Options){reflects})).AdmitReflect()
	now := time.Now()
	ask := func(address string, at time.Time) error { return admit(t.Context(), netip.MustParseAddr(address), at) }
	if err := ask("2001:db8::1", now); err != nil {
		t.Fatal(err)
	}
	if err := ask("2001:db8::2", now.Add(9*time.Second)); connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Errorf("another address of the same network: %v", err)
	}
	now = now.Add(10 * time.Second)
	if err := ask("2001:db8::2", now); err != nil {
		t.Errorf("10 seconds later: %v", err)
	}
	served := 0
	address := netip.MustParseAddr("192.0.2.0")
	for range 200 {
		if admit(t.Context(), address, now) == nil {
			served++
		}
		address = address.Next()
	}
	if served != 99 {
		t.Errorf("of 200 other addresses at once, %d are served, want 99", served)
	}
	// The last was not served by no fault of its own.
	if err := ask(address.Prev().String(), now.Add(time.Second)); err != nil {
		t.Errorf("a second later: %v", err)
	}
}

// TestReflectSendsNothing has a firewall of the server's machine that lets nothing out.
func TestReflectSendsNothing(t *testing.T) {
	s := server.New(t.Context(), options([]func(*server.Options){reflects}))
	serving := httptest.NewServer(s.ReflectHandler(func(context.Context, netip.AddrPort, [][]byte) (int, error) { return 0, net.ErrClosed }))
	defer serving.Close()
	if response, err := reflectAt(t.Context(), serving.URL, 1); err != nil || response.GetSent() != 0 {
		t.Errorf("the answer is %v, %v", response, err)
	}
}
