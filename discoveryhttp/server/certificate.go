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

// Certificate is a TLS certificate that is reloaded when its files change.
type Certificate struct {
	certFile, keyFile string
	log               *slog.Logger
	current           atomic.Pointer[tls.Certificate]
}

// LoadCertificate reads a certificate chain and its key from PEM files.
func LoadCertificate(certFile, keyFile string, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, log: log}
	return c, c.load()
}

func (c *Certificate) load() error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("load TLS certificate %s: %w", c.certFile, err)
	}
	c.current.Store(&pair)
	return nil
}

// TLS returns the configuration of a server with the certificate.
func (c *Certificate) TLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.current.Load(), nil
		},
	}
}

// certificateSettle is how long both files must be unchanged before they are read,
// because one is replaced after the other.
const certificateSettle = 200 * time.Millisecond

// Watch reloads the certificate when its files change, until ctx ends. If they cannot be
// loaded, the previous certificate stays in use.
func (c *Certificate) Watch(ctx context.Context) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch TLS certificate: %w", err)
	}
	defer func() { _ = watcher.Close() }()
	// Files are replaced by renaming, which only their directory reports.
	for _, dir := range []string{filepath.Dir(c.certFile), filepath.Dir(c.keyFile)} {
		if err := watcher.Add(dir); err != nil {
			return fmt.Errorf("watch TLS certificate: %w", err)
		}
	}
	var settled <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-watcher.Events:
			if !ok {
				return errors.New("watch TLS certificate: the file watcher was closed")
			}
			settled = time.After(certificateSettle)
		case err := <-watcher.Errors:
			c.log.Warn("watching TLS certificate failed", "error", err)
		case <-settled:
			settled = nil
			if err := c.load(); err != nil {
				c.log.Error("TLS certificate reload failed; keeping the old one", "error", err)
				continue
			}
			c.log.Info("TLS certificate reloaded", "file", c.certFile)
		}
	}
}
