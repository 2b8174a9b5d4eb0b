package etcd_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spanmesh/span/discoveryhttp/store"
	etcdstore "github.com/spanmesh/span/discoveryhttp/store/etcd"
)

// etcd is a real etcd on loopback.
type etcd struct {
	url, dir, peer string
	cmd            *exec.Cmd
	output         *bytes.Buffer
}

// binary returns the path of etcd, as `make etcd` builds it.
func binary() (string, error) {
	path := os.Getenv("SPANCTL_ETCD")
	if path == "" {
		path = "../../../.tools/bin/etcd"
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

// freeURL returns a URL on loopback that nobody listens on.
func freeURL() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return "http://" + listener.Addr().String(), listener.Close()
}

// newEtcd returns an etcd that has not started.
func newEtcd(dir string) (*etcd, error) {
	e := &etcd{dir: dir}
	var err error
	if e.url, err = freeURL(); err != nil {
		return nil, err
	}
	e.peer, err = freeURL()
	return e, err
}

// start runs etcd. The kernel kills it when the test process ends.
func (e *etcd) start(more ...string) error {
	path, err := binary()
	if err != nil {
		return err
	}
	e.output = &bytes.Buffer{}
	args := append([]string{"--data-dir", e.dir, "--listen-client-urls", e.url, "--advertise-client-urls", e.url,
		"--listen-peer-urls", e.peer, "--initial-advertise-peer-urls", e.peer, "--initial-cluster", "default=" + e.peer, "--log-level", "error",
		"--heartbeat-interval", "50", "--election-timeout", "500"}, more...)
	e.cmd = exec.Command(path, args...)
	e.cmd.Stdout, e.cmd.Stderr = e.output, e.output
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return e.cmd.Start()
}

func (e *etcd) kill() {
	_ = e.cmd.Process.Kill()
	_ = e.cmd.Wait()
}

// shared is the etcd of all tests that do not disturb it.
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
		if err == nil {
			err = shared.start()
		}
		shared.err = err
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.etcd
}

// ownEtcd starts an etcd for one test.
func ownEtcd(t *testing.T) *etcd {
	t.Helper()
	e, err := newEtcd(filepath.Join(t.TempDir(), "data"))
	if err == nil {
		err = e.start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.kill() })
	return e
}

// open opens a store as soon as etcd answers, and closes it when the test ends.
func open(t *testing.T, e *etcd, o etcdstore.Options) *etcdstore.Store {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	o.Endpoints = []string{e.url}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	for {
		s, err := etcdstore.Open(ctx, o)
		if err == nil {
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			return s
		}
		if ctx.Err() != nil {
			t.Fatalf("%v; etcd's output: %s", err, e.output)
		}
	}
}

// newPrefix returns a key prefix that no other test, nor another run of this one,
// has used.
func newPrefix(t *testing.T) string { return t.Name() + "/" + rand.Text() + "/" }

// openShared opens a store on the shared etcd, under a prefix of its own.
func openShared(t *testing.T, limits store.Limits) *etcdstore.Store {
	t.Helper()
	return open(t, sharedEtcd(t), etcdstore.Options{Prefix: newPrefix(t), Limits: limits})
}
