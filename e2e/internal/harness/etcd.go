package harness

import (
	"context"
	"net"
	"os"
	"path/filepath"
)

// StartEtcd starts an etcd on a machine, waits until it answers and returns its URL.
func StartEtcd(m *Machine) (url string) {
	m.t.Helper()
	path := os.Getenv("SPANCTL_ETCD")
	if path == "" {
		path = Tool(m.t, "etcd", "etcd")
	}
	url = "http://" + net.JoinHostPort(m.Address.String(), "2379")
	process := StartProcess(m.t, m.Command(context.WithoutCancel(m.t.Context()), path, "--data-dir", filepath.Join(m.Dir, "etcd"),
		"--listen-client-urls", url, "--advertise-client-urls", url, "--log-level", "info"))
	process.AwaitOutput("ready to serve client requests")
	return url
}
