package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

const (
	// certificatePoll is how often the files are checked. A look at the files themselves
	// finds every way to replace them: in place, by renaming, and by another target of any
	// symbolic link of their paths, as Kubernetes and certbot do.
	certificatePoll = time.Second
	// certificateSettle is how long both files must be unchanged before they are read,
	// because one is replaced after the other.
	certificateSettle = 200 * time.Millisecond
)

// Certificate is a TLS certificate that is reloaded when its files change.
type Certificate struct {
	certFile, keyFile string
	log               *slog.Logger
	current           atomic.Pointer[tls.Certificate]
	// loaded is what the files were when they were read.
	loaded fileStates
}

// fileStates are the states of the files of the certificate and of its key.
type fileStates [2]fileState

// fileState is what changes when a file is replaced or written. It is zero for a file that
// cannot be found.
type fileState struct {
	info fs.FileInfo
}

func stateOf(path string) fileState {
	info, err := os.Stat(path)
	if err != nil {
		return fileState{}
	}
	return fileState{info}
}

func (s fileState) equal(other fileState) bool {
	if s.info == nil || other.info == nil {
		return s.info == other.info
	}
	return os.SameFile(s.info, other.info) && s.info.ModTime().Equal(other.info.ModTime()) &&
		s.info.Size() == other.info.Size() && s.info.Mode() == other.info.Mode()
}

func (s fileStates) equal(other fileStates) bool {
	return s[0].equal(other[0]) && s[1].equal(other[1])
}

// LoadCertificate reads a certificate chain and its key from PEM files.
func LoadCertificate(certFile, keyFile string, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, log: log}
	return c, c.load(c.states())
}

// states returns the present states of the files.
func (c *Certificate) states() fileStates {
	return fileStates{stateOf(c.certFile), stateOf(c.keyFile)}
}

// load reads the files, whose states were read before.
func (c *Certificate) load(states fileStates) error {
	c.loaded = states
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

// Watch reloads the certificate when its files change, until ctx ends. If they cannot be
// loaded, the previous certificate stays in use. It is called once.
func (c *Certificate) Watch(ctx context.Context) error {
	timer := time.NewTimer(certificatePoll)
	defer timer.Stop()
	changed := c.loaded
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		switch states := c.states(); {
		case states.equal(c.loaded):
			timer.Reset(certificatePoll)
		case !states.equal(changed):
			changed = states
			timer.Reset(certificateSettle)
		default:
			c.reload(states)
			timer.Reset(certificatePoll)
		}
	}
}

func (c *Certificate) reload(states fileStates) {
	if err := c.load(states); err != nil {
		c.log.Error("TLS certificate reload failed; keeping the old one", "error", err)
		return
	}
	c.log.Info("TLS certificate reloaded", "file", c.certFile)
}
