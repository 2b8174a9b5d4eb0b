package store_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spanmesh/span/discoveryhttp/store"
)

// etcd is a real etcd on loopback.
type etcd struct {
	url, dir, peer string
	cmd            *exec.Cmd
	said           *bytes.Buffer
}

// binary is etcd, as `make` builds it.
func binary() (string, error) {
	path := os.Getenv("SPANCTL_ETCD")
	if path == "" {
		path = "../../.tools/bin/etcd"
	}
	path, err := filepath.Abs(path)
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		return "", fmt.Errorf("build etcd first, with `make etcd`: %w", err)
	}
	return path, nil
}

// start runs etcd, which ends with the test process.
func (e *etcd) start(more ...string) error {
	path, err := binary()
	if err != nil {
		return err
	}
	e.said = &bytes.Buffer{}
	args := append([]string{"--data-dir", e.dir, "--listen-client-urls", e.url, "--advertise-client-urls", e.url,
		"--listen-peer-urls", e.peer, "--initial-advertise-peer-urls", e.peer, "--initial-cluster", "default=" + e.peer, "--log-level", "error",
		"--heartbeat-interval", "50", "--election-timeout", "500"}, more...)
	e.cmd = exec.Command(path, args...)
	e.cmd.Stdout, e.cmd.Stderr = e.said, e.said
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return e.cmd.Start()
}

func (e *etcd) kill() {
	_ = e.cmd.Process.Kill()
	_ = e.cmd.Wait()
}

// freeURL is an address on loopback that nobody listens on.
func freeURL() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return "http://" + listener.Addr().String(), listener.Close()
}

func newEtcd(dir string) (*etcd, error) {
	e := &etcd{dir: dir}
	var err error
	if e.url, err = freeURL(); err != nil {
		return nil, err
	}
	if e.peer, err = freeURL(); err != nil {
		return nil, err
	}
	return e, e.start()
}

// shared is the etcd of all tests that do not harm it.
var shared struct {
	sync.Once
	*etcd
	err error
}

func TestMain(m *testing.M) {
	status := m.Run()
	if shared.etcd != nil {
		shared.kill()
		_ = os.RemoveAll(shared.dir)
	}
	os.Exit(status)
}

func sharedEtcd(t *testing.T) *etcd {
	t.Helper()
	shared.Do(func() {
		dir, err := os.MkdirTemp("", "etcd") //nolint:usetesting // it outlives the test that asks first
		if err == nil {
			shared.etcd, err = newEtcd(dir)
		}
		shared.err = err
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.etcd
}

// openEtcd opens a store under a prefix of its own, once etcd answers.
func openEtcd(t *testing.T, e *etcd, prefix string, limits store.Limits) *store.Etcd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		s, err := store.OpenEtcd(ctx, store.EtcdOptions{Endpoints: []string{e.url}, Prefix: prefix + "/", Limits: limits, Log: slog.New(slog.DiscardHandler)})
		if err == nil {
			return s
		}
		if ctx.Err() != nil {
			t.Fatalf("%v; etcd said: %s", err, e.said)
		}
	}
}

// collect reads a watcher until the changes, joined, are what is wanted.
func collect(t *testing.T, w *store.Watcher, want ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var got []string
	for !slices.Equal(got, want) {
		events, err := w.Next(ctx)
		if err != nil {
			t.Fatalf("got %v, want %v: %v", got, want, err)
		}
		for _, e := range events {
			if e.Deleted {
				got = append(got, "-"+e.Affiliate.ID)
			} else {
				got = append(got, "+"+show(e.Affiliate))
			}
		}
	}
}

func soon(t *testing.T, s *store.Etcd, id, data string, ttl time.Duration, endpoints ...string) {
	t.Helper()
	u := toUpdate(id, data, start, endpoints...)
	u.Now, u.TTL = time.Now(), ttl
	if err := s.Update(t.Context(), "c", u); err != nil {
		t.Fatal(err)
	}
}

// TestEtcdExpires has leases that end in a few seconds.
func TestEtcdExpires(t *testing.T) {
	s := openEtcd(t, sharedEtcd(t), t.Name(), store.Limits{})
	defer func() { _ = s.Close() }()
	_, w, err := s.Watch(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	soon(t, s, "long", "1", time.Hour, "x")
	soon(t, s, "long", "", time.Second, "y")
	soon(t, s, "long", "", time.Second, "x") // shortens nothing
	soon(t, s, "short", "2", 4*time.Second)
	soon(t, s, "short", "", time.Hour, "z") // prolongs nothing
	collect(t, w, "+long=1[x]", "+long=1[x y]", "+short=2[]", "+short=2[z]", "+long=1[x]", "-short")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	// The endpoint that others added to the one that has gone is swept away.
	for want := []string{"long=1[x]"}; !slices.Equal(list(t, s, "c"), want); {
		if ctx.Err() != nil {
			t.Fatalf("there are %v, want %v", list(t, s, "c"), want)
		}
	}
}

// TestEtcdServesSeveralServers has two stores on one etcd.
func TestEtcdServesSeveralServers(t *testing.T) {
	e := sharedEtcd(t)
	one, two := openEtcd(t, e, t.Name(), store.Limits{}), openEtcd(t, e, t.Name(), store.Limits{})
	defer func() { _ = one.Close() }()
	_, w, err := two.Watch(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	update(t, one, "c", "a", "1", in(30), "x")
	update(t, two, "c", "a", "", in(30), "y")
	update(t, one, "c", "a", "1", in(30), "x") // a refresh is no change
	if err := one.Delete(t.Context(), "c", "a"); err != nil {
		t.Fatal(err)
	}
	collect(t, w, "+a=1[x]", "+a=1[x y]", "-a")
	if ok, err := one.Pin(t.Context(), "c", []byte("one"), start); !ok || err != nil {
		t.Errorf("pin: %v, %v", ok, err)
	}
	if ok, err := two.Pin(t.Context(), "c", []byte("two"), start); ok || err != nil {
		t.Errorf("another pin at another server: %v, %v", ok, err)
	}
	w.Close()
	if got := two.Stats(); got != (store.Stats{}) {
		t.Errorf("nobody watches, and the stats are %+v", got)
	}
	if err := two.Close(); err != nil {
		t.Error(err)
	}
}

// TestEtcdComesBack kills etcd and starts it again.
func TestEtcdComesBack(t *testing.T) {
	e, err := newEtcd(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.kill() })
	s := openEtcd(t, e, "p", store.Limits{})
	t.Cleanup(func() { _ = s.Close() })
	update(t, s, "c", "a", "1", in(30))
	_, w, err := s.Watch(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	e.kill()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := s.Ready(ctx); err == nil {
		t.Error("ready without etcd")
	}
	if err := e.start(); err != nil {
		t.Fatal(err)
	}
	u := toUpdate("b", "2", in(30))
	deadline := time.Now().Add(time.Minute)
	for err = s.Update(t.Context(), "c", u); err != nil; err = s.Update(t.Context(), "c", u) {
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	expect(t, s, "c", "a=1[]", "b=2[]")
	// The watcher is told, or told to start over.
	next, cancelNext := context.WithTimeout(t.Context(), time.Minute)
	defer cancelNext()
	events, err := w.Next(next)
	if !errors.Is(err, store.ErrLagging) && (err != nil || show(events[0].Affiliate) != "b=2[]") {
		t.Errorf("the watcher got %v, %v", events, err)
	}
}

// TestEtcdWithClientCertificates has an etcd that wants one.
func TestEtcdWithClientCertificates(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile, pair := certificate(t, dir)
	url, err := freeURL()
	if err != nil {
		t.Fatal(err)
	}
	peer, err := freeURL()
	if err != nil {
		t.Fatal(err)
	}
	e := &etcd{url: strings.Replace(url, "http://", "https://", 1), peer: peer, dir: filepath.Join(dir, "data")}
	if err := e.start("--cert-file", certFile, "--key-file", keyFile, "--client-cert-auth", "--trusted-ca-file", certFile); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.kill)
	roots := x509.NewCertPool()
	roots.AddCert(pair.Leaf)
	open := func(patience time.Duration, config *tls.Config) (*store.Etcd, error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		for {
			s, err := store.OpenEtcd(ctx, store.EtcdOptions{Endpoints: []string{e.url}, TLS: config, Log: slog.New(slog.DiscardHandler)})
			if err == nil || ctx.Err() != nil {
				return s, err
			}
		}
	}
	s, err := open(time.Minute, &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatalf("%v; etcd said: %s", err, e.said)
	}
	update(t, s, "c", "a", "1", in(30))
	expect(t, s, "c", "a=1[]")
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := open(2*time.Second, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}); err == nil {
		t.Error("etcd took a client without a certificate")
	}
}

// certificate makes one that is its own authority, for both sides.
func certificate(t *testing.T, dir string) (certFile, keyFile string, pair tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: raw}, keyFile: {Type: "PRIVATE KEY", Bytes: encoded}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if pair, err = tls.LoadX509KeyPair(certFile, keyFile); err != nil {
		t.Fatal(err)
	}
	return certFile, keyFile, pair
}

func TestEtcdSaysWhyItDoesNotOpen(t *testing.T) {
	url, err := freeURL()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = store.OpenEtcd(ctx, store.EtcdOptions{Endpoints: []string{url}, Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "reach etcd at "+url) {
		t.Errorf("got %v", err)
	}
}

// TestEtcdMembersThatDoNotAnswer has one that nobody listens at and one that accepts
// connections and says nothing before the one that works.
func TestEtcdMembersThatDoNotAnswer(t *testing.T) {
	e := sharedEtcd(t)
	_ = openEtcd(t, e, "ready", store.Limits{}).Close()
	closed, err := freeURL()
	if err != nil {
		t.Fatal(err)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	s, err := store.OpenEtcd(t.Context(), store.EtcdOptions{
		Endpoints: []string{closed, "http://" + silent.Addr().String(), e.url}, Prefix: "members/", Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	_, w, err := s.Watch(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	update(t, s, "c", "a", "1", in(30))
	events, err := w.Next(t.Context())
	if err != nil || show(events[0].Affiliate) != "a=1[]" {
		t.Errorf("the watcher got %v, %v", events, err)
	}
}
