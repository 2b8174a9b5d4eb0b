package server_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spanmesh/span/discoveryhttp/server"
)

// reloadTime is the time after which changed files have been reloaded.
const reloadTime = 5 * time.Second

// pemFiles returns a new certificate with a serial number, and its key.
func pemFiles(t *testing.T, serial int64) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})
}

// disk changes files below a directory, and fails the test if it cannot.
type disk struct {
	t   *testing.T
	dir string
}

func (d disk) path(name string) string { return filepath.Join(d.dir, name) }

func (d disk) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d disk) write(name string, content []byte) {
	d.t.Helper()
	d.must(os.MkdirAll(filepath.Dir(d.path(name)), 0o700))
	d.must(os.WriteFile(d.path(name), content, 0o600))
}

// pair writes a certificate and its key as cert.pem and key.pem of a directory.
func (d disk) pair(dir string, serial int64) {
	d.t.Helper()
	certificate, key := pemFiles(d.t, serial)
	d.write(filepath.Join(dir, "cert.pem"), certificate)
	d.write(filepath.Join(dir, "key.pem"), key)
}

// link makes name a symbolic link to target, in place of what name was.
func (d disk) link(target, name string) {
	d.t.Helper()
	d.must(os.MkdirAll(filepath.Dir(d.path(name)), 0o700))
	d.must(os.Symlink(target, d.path(name+".new")))
	d.must(os.Rename(d.path(name+".new"), d.path(name)))
}

// layouts are ways to lay certificates out and to replace them. Each names the directory of
// cert.pem and key.pem.
var layouts = map[string]struct {
	dir           string
	first, second func(d disk)
}{
	"files that are written in place": {".",
		func(d disk) { d.pair(".", 1) },
		func(d disk) {
			d.pair(".", 2)
			// Both writes may have the same time.
			d.must(os.Chtimes(d.path("key.pem"), time.Time{}, time.Unix(1, 0)))
		}},
	"files that are renamed": {".",
		func(d disk) { d.pair(".", 1) },
		func(d disk) {
			d.pair("new", 2)
			d.must(os.Rename(d.path("new/cert.pem"), d.path("cert.pem")))
			d.must(os.Rename(d.path("new/key.pem"), d.path("key.pem")))
		}},
	"a secret that Kubernetes mounts": {".",
		func(d disk) {
			d.pair("..2026_01", 1)
			d.link("..2026_01", "..data")
			d.link("..data/cert.pem", "cert.pem")
			d.link("..data/key.pem", "key.pem")
		},
		func(d disk) {
			d.pair("..2026_02", 2)
			d.link("..2026_02", "..data")
			d.must(os.RemoveAll(d.path("..2026_01")))
		}},
	"the live directory of certbot": {"live/span.example",
		func(d disk) {
			d.pair("archive/1", 1)
			d.link("../../archive/1/cert.pem", "live/span.example/cert.pem")
			d.link("../../archive/1/key.pem", "live/span.example/key.pem")
		},
		func(d disk) {
			d.pair("archive/2", 2)
			d.link("../../archive/2/cert.pem", "live/span.example/cert.pem")
			d.link("../../archive/2/key.pem", "live/span.example/key.pem")
		}},
	"a directory that is a link": {"current",
		func(d disk) { d.pair("v1", 1); d.link("v1", "current") },
		func(d disk) { d.pair("v2", 2); d.link("v2", "current") }},
	"a file behind two links": {"live",
		func(d disk) { d.pair("v1", 1); d.link("v1", "current"); d.link("current", "live") },
		func(d disk) { d.pair("v2", 2); d.link("v2", "current") }},
}

// watched is a certificate whose files are watched, and its log.
type watched struct {
	*server.Certificate
	log *bytes.Buffer
}

// watch loads and watches the certificate of a directory, in the bubble of a test.
func watch(t *testing.T, dir string) watched {
	t.Helper()
	log := &bytes.Buffer{}
	c, err := server.LoadCertificate(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Watch(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return watched{c, log}
}

// after lets time pass, and checks which certificate is in use and how often the log has a text.
func (w watched) after(t *testing.T, d time.Duration, serial int64, text string, times int) {
	t.Helper()
	<-time.After(d)
	synctest.Wait()
	pair, err := w.TLS().GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := pair.Leaf.SerialNumber.Int64(); got != serial {
		t.Errorf("certificate %d is in use, want %d", got, serial)
	}
	if got := strings.Count(w.log.String(), text); got != times {
		t.Errorf("the log has %q %d times, want %d: %s", text, got, times, w.log)
	}
}

func TestCertificateIsReloadedWhenItsFilesAreReplaced(t *testing.T) {
	for name, layout := range layouts {
		t.Run(name, func(t *testing.T) {
			d := disk{t, t.TempDir()}
			layout.first(d)
			synctest.Test(t, func(t *testing.T) {
				w := watch(t, d.path(layout.dir))
				w.after(t, reloadTime, 1, "level=", 0)
				layout.second(d)
				w.after(t, reloadTime, 2, "certificate reloaded", 1)
				w.after(t, time.Hour, 2, "level=", 1)
			})
		})
	}
}

// TestOtherFilesDoNotReloadTheCertificate writes files beside the certificate all the time, its
// log among them.
func TestOtherFilesDoNotReloadTheCertificate(t *testing.T) {
	for name, layout := range layouts {
		t.Run(name, func(t *testing.T) {
			d := disk{t, t.TempDir()}
			layout.first(d)
			synctest.Test(t, func(t *testing.T) {
				w := watch(t, d.path(layout.dir))
				for range 100 {
					for _, other := range []string{"server.log", "cert.pem.tmp", "key.pem~", "other.pem"} {
						d.write(filepath.Join(layout.dir, other), []byte(time.Now().String()))
						d.write(other, []byte(time.Now().String()))
					}
					w.after(t, 50*time.Millisecond, 1, "level=", 0)
				}
				// A busy directory does not delay the reload either.
				layout.second(d)
				for range 100 {
					d.write(filepath.Join(layout.dir, "server.log"), []byte(time.Now().String()))
					<-time.After(50 * time.Millisecond)
				}
				w.after(t, 0, 2, "level=", 1)
			})
		})
	}
}

func TestCertificateThatCannotBeLoadedIsKept(t *testing.T) {
	for name, spoil := range map[string]func(d disk){
		"nonsense":    func(d disk) { d.write("cert.pem", []byte("nonsense")) },
		"removed":     func(d disk) { d.must(os.Remove(d.path("cert.pem"))) },
		"another key": func(d disk) { _, key := pemFiles(t, 3); d.write("key.pem", append(key, '\n')) },
	} {
		t.Run(name, func(t *testing.T) {
			d := disk{t, t.TempDir()}
			d.pair(".", 1)
			synctest.Test(t, func(t *testing.T) {
				w := watch(t, d.dir)
				spoil(d)
				w.after(t, time.Hour, 1, "reload failed", 1)
				// The rest of the files comes later.
				d.pair("new", 2)
				d.must(os.Rename(d.path("new/cert.pem"), d.path("cert.pem")))
				d.must(os.Rename(d.path("new/key.pem"), d.path("key.pem")))
				w.after(t, reloadTime, 2, "certificate reloaded", 1)
			})
		})
	}
}

func TestBrokenCertificateIsNotLoaded(t *testing.T) {
	d := disk{t, t.TempDir()}
	d.pair(".", 1)
	d.write("cert.pem", []byte("nonsense"))
	if _, err := server.LoadCertificate(d.path("cert.pem"), d.path("key.pem"), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a broken certificate was loaded")
	}
}
