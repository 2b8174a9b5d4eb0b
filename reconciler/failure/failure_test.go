package failure_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler/failure"
)

// listen returns the address of a listener that does serve with each connection.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				serve(c)
			}()
		}
	}()
	return l.Addr().String()
}

// certificate makes a certificate for 127.0.0.1 that is its own authority.
func certificate(t *testing.T, from, until time.Time) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "disc"}, NotBefore: from, NotAfter: until,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"disc.example.com"}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(c)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// handshake returns the error of a TLS client at an address.
func handshake(t *testing.T, address string, config *tls.Config) error {
	t.Helper()
	c, err := (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", address)
	if err == nil {
		_ = c.Close()
	}
	return err
}

func TestCertificates(t *testing.T) {
	now := time.Now()
	for _, test := range []struct {
		name        string
		from, until time.Duration
		host        string
		trusted     bool
		class       failure.Class
		text        string
	}{
		{"not yet valid", time.Hour, 2 * time.Hour, "127.0.0.1", true, failure.NotYetValid, "valid from " + now.Add(time.Hour).UTC().Format(time.RFC3339) + ", this clock says " + now.UTC().Format(time.RFC3339)},
		{"expired", -2 * time.Hour, -time.Hour, "127.0.0.1", true, failure.Expired, "valid until " + now.Add(-time.Hour).UTC().Format(time.RFC3339)},
		{"of an unknown authority", -time.Hour, time.Hour, "127.0.0.1", false, failure.UnknownAuthority, `signed by "CN=disc"`},
		{"for another host", -time.Hour, time.Hour, "other.example.com", true, failure.WrongName, "for disc.example.com, 127.0.0.1, not for other.example.com"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, pool := certificate(t, now.Add(test.from), now.Add(test.until))
			if !test.trusted {
				pool = x509.NewCertPool()
			}
			address := listen(t, func(conn net.Conn) {
				_ = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{c}}).Handshake()
			})
			err := handshake(t, address, &tls.Config{RootCAs: pool, ServerName: test.host})
			f := failure.Of(now, fmt.Errorf("say hello: %w", err))
			if f.Class != test.class || !strings.Contains(f.Text, test.text) || !f.Class.IsTLS() {
				t.Errorf("%v is %+v", err, f)
			}
		})
	}
}

func TestConnections(t *testing.T) {
	now := time.Now()
	dial := func(address string) error {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		if err == nil {
			_, err = c.Read(make([]byte, 1))
			_ = c.Close()
		}
		return err
	}
	closed := func() string {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		return l.Addr().String()
	}
	plain := listen(t, func(c net.Conn) { _, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) })
	network := func(errno syscall.Errno) error {
		return &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", errno)}
	}
	for _, test := range []struct {
		name  string
		err   error
		class failure.Class
		text  string
	}{
		{"nothing", nil, "", ""},
		{"nobody listens", dial(closed()), failure.Refused, "connection refused"},
		{"the other end closes", dial(listen(t, func(net.Conn) {})), failure.Closed, "the connection was closed"},
		{"no TLS", handshake(t, plain, &tls.Config{ServerName: "127.0.0.1"}), failure.PlainHTTP, "what answers does not speak TLS, but plain HTTP"},
		{"neither TLS nor HTTP", tls.RecordHeaderError{RecordHeader: [5]byte([]byte("SSH-2"))}, failure.TLS, "what answers does not speak TLS"},
		{"no such host", &net.DNSError{Err: "no such host", Name: "disc.invalid", IsNotFound: true}, failure.NoSuchHost, "no such host disc.invalid"},
		{"no name server", &net.DNSError{Err: "i/o timeout", Name: "disc.invalid", IsTimeout: true}, failure.NameServer, "no name server answers for disc.invalid"},
		{"no network", network(syscall.ENETUNREACH), failure.NoRoute, "network is unreachable"},
		{"no host", network(syscall.EHOSTUNREACH), failure.NoRoute, "no route to host"},
		{"a firewall here", network(syscall.EPERM), failure.Filtered, "this machine's firewall does not let it out"},
		{"reset", network(syscall.ECONNRESET), failure.Closed, "the connection was closed"},
		{"cut off", io.ErrUnexpectedEOF, failure.Closed, "the connection was closed"},
		{"late", context.DeadlineExceeded, failure.Timeout, "no answer in time"},
		{"late network", &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}, failure.Timeout, "no answer in time"},
		{"anything else", errors.New("what is this"), failure.Other, "what is this"},
	} {
		if f := failure.Of(now, test.err); f.Class != test.class || f.Text != test.text {
			t.Errorf("%s: %v is %+v", test.name, test.err, f)
		}
	}
}
