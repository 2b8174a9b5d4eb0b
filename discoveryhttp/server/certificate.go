package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Certificate is a TLS certificate that is loaded again when its files change.
// It is safe for concurrent use.
type Certificate struct {
	certFile, keyFile string
	log               *slog.Logger
	current           atomic.Pointer[tls.Certificate]
}

// LoadCertificate reads a certificate chain and its key, PEM.
func LoadCertificate(certFile, keyFile string, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, log: log}
	return c, c.load()
}

func (c *Certificate) load() error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("load the TLS certificate: %w", err)
	}
	c.current.Store(&pair)
	return nil
}

// TLS is the configuration of a server with the certificate.
func (c *Certificate) TLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.current.Load(), nil
		},
	}
}

// certificateSettle is how long the files must be still: two of them change.
const certificateSettle = 200 * time.Millisecond

// Watch loads the certificate again when its files change, until ctx ends. A
// pair that does not load leaves the one before in use.
func (c *Certificate) Watch(ctx context.Context) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch the TLS certificate: %w", err)
	}
	defer func() { _ = watcher.Close() }()
	// The directories, since files are replaced by renaming.
	for _, dir := range []string{filepath.Dir(c.certFile), filepath.Dir(c.keyFile)} {
		if err := watcher.Add(dir); err != nil {
			return fmt.Errorf("watch the TLS certificate: %w", err)
		}
	}
	var settled <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-watcher.Events:
			if !ok {
				return errors.New("the watch of the TLS certificate ended")
			}
			settled = time.After(certificateSettle)
		case err := <-watcher.Errors:
			c.log.Warn("watching the TLS certificate", "error", err)
		case <-settled:
			settled = nil
			if err := c.load(); err != nil {
				c.log.Error("the changed TLS certificate cannot be used; the one before stays", "error", err)
				continue
			}
			c.log.Info("the TLS certificate was loaded", "file", c.certFile)
		}
	}
}
