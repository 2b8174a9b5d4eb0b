package harness

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io/fs"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Files are a machine's config and what lies beside it.
type Files struct{ m *Machine }

// WriteConfig writes the machine's config as many editors do: it writes another file and
// renames it.
func (f Files) WriteConfig(text string) {
	f.m.t.Helper()
	fresh := filepath.Join(filepath.Dir(f.m.Config()), ".machine.cue.swp")
	if err := os.WriteFile(fresh, []byte(text), 0o600); err != nil {
		f.m.t.Fatal(err)
	}
	if err := os.Rename(fresh, f.m.Config()); err != nil {
		f.m.t.Fatal(err)
	}
}

// Config returns the text of the machine's config file.
func (f Files) Config() string {
	f.m.t.Helper()
	text, err := os.ReadFile(f.m.Config())
	if err != nil {
		f.m.t.Fatal(err)
	}
	return string(text)
}

// WantConfig fails the test unless the config file is the text.
func (f Files) WantConfig(t *testing.T, want string) {
	t.Helper()
	if got := f.Config(); got != want {
		t.Errorf("the config file of %s is\n%s\nwant\n%s", f.m.Name, got, want)
	}
}

// AwaitConfig waits until the config file contains a text.
func (f Files) AwaitConfig(text string) {
	f.m.t.Helper()
	ctx := Context(f.m.t)
	for !strings.Contains(f.Config(), text) {
		select {
		case <-ctx.Done():
			f.m.t.Fatalf("the config has no %q:\n%s", text, f.Config())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Write writes a file beside the machine's config and returns its path.
func (f Files) Write(name, text string) string {
	f.m.t.Helper()
	path := filepath.Join(f.m.Dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		f.m.t.Fatal(err)
	}
	return path
}

// Read returns the text of a file.
func (f Files) Read(path string) string {
	f.m.t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		f.m.t.Fatal(err)
	}
	return string(text)
}

// NodeID returns the machine's node ID, from its state directory.
func (f Files) NodeID() string {
	f.m.t.Helper()
	text, err := os.ReadFile(filepath.Join(f.m.StateDir(), "node-identity.yaml"))
	if err != nil {
		f.m.t.Fatal(err)
	}
	_, id, _ := strings.Cut(string(text), "nodeId: ")
	id, _, _ = strings.Cut(id, "\n")
	return id
}

// Certificate makes a self-signed certificate for the machine's address and others, and returns the
// paths of it and of its key.
func (f Files) Certificate(others ...netip.Addr) (certificatePath, keyPath string) {
	f.m.t.Helper()
	return f.CertificateWithin("cert", time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour), others...)
}

// CertificateWithin makes the certificate of Certificate for another time, in files of that name.
func (f Files) CertificateWithin(name string, from, until time.Time, others ...netip.Addr) (certificatePath, keyPath string) {
	f.m.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.m.t.Fatal(err)
	}
	addresses := []net.IP{f.m.Address.AsSlice()}
	for _, other := range others {
		addresses = append(addresses, other.AsSlice())
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: f.m.Name},
		NotBefore:             from,
		NotAfter:              until,
		IPAddresses:           addresses,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		f.m.t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		f.m.t.Fatal(err)
	}
	return f.Write(name+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}))),
		f.Write(name+"-key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})))
}

// CopyState copies the state directory of another machine, as a cloned disk does: with its modes.
func (f Files) CopyState(from *Machine) {
	f.m.t.Helper()
	to := f.m.StateDir()
	if err := os.CopyFS(to, os.DirFS(from.StateDir())); err != nil {
		f.m.t.Fatal(err)
	}
	err := filepath.WalkDir(to, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return os.Chmod(path, 0o600)
	})
	if err != nil {
		f.m.t.Fatal(err)
	}
}
