package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/spanmesh/span/discoveryhttp/server"
	"github.com/spanmesh/span/discoveryhttp/store"
)

// etcdFlags say how etcd is reached.
type etcdFlags struct{ ca, cert, key, prefix string }

func (f *etcdFlags) flags(flags *pflag.FlagSet) {
	flags.StringVar(&f.ca, "etcd-ca", "", "file of the authorities that sign etcd's certificate, PEM (default the system's)")
	flags.StringVar(&f.cert, "etcd-cert", "", "file of the client certificate for etcd, PEM")
	flags.StringVar(&f.key, "etcd-key", "", "file of the client certificate's key, PEM")
	flags.StringVar(&f.prefix, "etcd-prefix", "/spanctl/discovery/", "what all keys in etcd begin with")
}

// tls is nil if no endpoint wants it.
func (f etcdFlags) tls(endpoints []string) (*tls.Config, error) {
	secure := 0
	for _, e := range endpoints {
		switch {
		case strings.HasPrefix(e, "https://"):
			secure++
		case !strings.HasPrefix(e, "http://"):
			return nil, fmt.Errorf("--store has %q: want URLs of etcd, such as etcd:https://10.0.0.1:2379,https://10.0.0.2:2379", e)
		}
	}
	switch {
	case secure == 0 && (f.ca != "" || f.cert != ""):
		return nil, errors.New("--etcd-ca and --etcd-cert go with https URLs of etcd")
	case secure == 0:
		return nil, nil
	case secure < len(endpoints):
		return nil, errors.New("--store has both http and https URLs of etcd")
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.ca != "" {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, fmt.Errorf("read the authorities of etcd: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s has no certificate, PEM", f.ca)
		}
	}
	if f.cert != "" {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return nil, fmt.Errorf("load the client certificate for etcd: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// openStore opens the store that --store names.
func (f serveFlags) openStore(ctx context.Context, log *slog.Logger) (server.Store, error) {
	limits := f.limits.Store
	kind, place, _ := strings.Cut(f.store, ":")
	switch {
	case f.store == "memory":
		return store.NewMemory(limits), nil
	case kind == "bolt" && place != "":
		if err := os.MkdirAll(filepath.Dir(place), 0o700); err != nil {
			return nil, fmt.Errorf("make the store's directory: %w", err)
		}
		return store.OpenBolt(place, limits)
	case kind == "etcd" && place != "":
		endpoints := strings.Split(place, ",")
		config, err := f.etcd.tls(endpoints)
		if err != nil {
			return nil, err
		}
		return store.OpenEtcd(ctx, store.EtcdOptions{Endpoints: endpoints, TLS: config, Prefix: f.etcd.prefix, Limits: limits, Log: log})
	default:
		return nil, fmt.Errorf("--store is %q: want memory, bolt:PATH or etcd:URL", f.store)
	}
}
