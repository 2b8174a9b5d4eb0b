package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/spf13/pflag"

	"github.com/spanmesh/span/discoveryhttp/server"
	"github.com/spanmesh/span/discoveryhttp/store"
	"github.com/spanmesh/span/discoveryhttp/store/etcd"
)

// etcdFlags are the flags of the etcd store.
type etcdFlags struct {
	ca, cert, key      string
	user, passwordFile string
	prefix             string
}

// etcdPasswordVariable is the environment variable with the password of the etcd
// user. A flag for it would show it in the process list.
const etcdPasswordVariable = "SPANCTL_ETCD_PASSWORD"

func (f *etcdFlags) flags(flags *pflag.FlagSet) {
	flags.StringVar(&f.ca, "etcd-ca", "", "PEM file of the authorities that sign etcd's certificate (default the system's)")
	flags.StringVar(&f.cert, "etcd-cert", "", "PEM file of the client certificate for etcd")
	flags.StringVar(&f.key, "etcd-key", "", "PEM file of the client certificate's key")
	variable(flags, &f.user, "etcd-user", "SPANCTL_ETCD_USER", "", "user to authenticate to etcd as")
	variable(flags, &f.passwordFile, "etcd-password-file", "SPANCTL_ETCD_PASSWORD_FILE", "", "file of the etcd user's password (default the password in $"+etcdPasswordVariable+")")
	flags.StringVar(&f.prefix, "etcd-prefix", "/spanctl/discovery/", "prefix of all keys in etcd")
}

// checkEndpoints returns how many of the endpoints are https URLs.
func checkEndpoints(endpoints []string) (secure int, err error) {
	for _, e := range endpoints {
		u, err := url.Parse(e)
		switch {
		case err == nil && u.User != nil:
			return 0, errors.New("--store has a URL of etcd with a user: give --etcd-user and --etcd-password-file")
		case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
			return 0, fmt.Errorf("--store has %q: want URLs of etcd, such as etcd:https://10.0.0.1:2379,https://10.0.0.2:2379", e)
		case u.Scheme == "https":
			secure++
		}
	}
	return secure, nil
}

// tls returns the TLS configuration, or nil for http endpoints.
func (f etcdFlags) tls(endpoints []string) (*tls.Config, error) {
	secure, err := checkEndpoints(endpoints)
	if err != nil {
		return nil, err
	}
	switch {
	case secure == 0 && (f.ca != "" || f.cert != ""):
		return nil, errors.New("--etcd-ca and --etcd-cert go with https URLs of etcd, and --store has http URLs")
	case secure == 0:
		return nil, nil
	case secure < len(endpoints):
		return nil, errors.New("--store has both http and https URLs of etcd")
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.ca != "" {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, fmt.Errorf("read --etcd-ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--etcd-ca %s has no PEM certificate", f.ca)
		}
	}
	if f.cert != "" {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return nil, fmt.Errorf("load --etcd-cert: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// password returns the password of the etcd user. It is empty without a user.
func (f etcdFlags) password() (string, error) {
	password := os.Getenv(etcdPasswordVariable)
	if f.passwordFile != "" {
		text, err := os.ReadFile(f.passwordFile)
		if err != nil {
			return "", fmt.Errorf("read --etcd-password-file: %w", err)
		}
		password = strings.TrimRight(string(text), "\r\n")
	}
	switch {
	case f.user == "" && f.passwordFile != "":
		return "", errors.New("--etcd-password-file goes with --etcd-user")
	case f.user == "":
		return "", nil
	case password == "":
		return "", fmt.Errorf("--etcd-user %s has no password: give --etcd-password-file or $%s", f.user, etcdPasswordVariable)
	}
	return password, nil
}

// open opens the store in etcd at endpoints.
func (f etcdFlags) open(ctx context.Context, endpoints []string, limits store.Limits, log *slog.Logger) (closingStore, error) {
	config, err := f.tls(endpoints)
	if err != nil {
		return nil, err
	}
	password, err := f.password()
	if err != nil {
		return nil, err
	}
	return etcd.Open(ctx, etcd.Options{
		Endpoints: endpoints, TLS: config, User: f.user, Password: password, Prefix: f.prefix, Limits: limits, Log: log,
	})
}

// closingStore is a store that is closed when the server has stopped.
type closingStore interface {
	server.Store
	io.Closer
}

// openStore opens the store that --store names.
func (f *serveOptions) openStore(ctx context.Context, log *slog.Logger) (closingStore, error) {
	limits := f.limits.Store
	kind, place, _ := strings.Cut(f.store, ":")
	if f.storeReset && kind != "bolt" {
		return nil, fmt.Errorf("--store-reset goes with a bolt store, and --store is %q", f.store)
	}
	switch {
	case f.store == "memory":
		return store.NewMemory(limits), nil
	case kind == "bolt" && place != "":
		if err := os.MkdirAll(filepath.Dir(place), 0o700); err != nil {
			return nil, fmt.Errorf("create the directory of --store: %w", err)
		}
		return f.openBolt(place, log)
	case kind == "etcd" && place != "":
		return f.etcd.open(ctx, strings.Split(place, ","), limits, log)
	default:
		return nil, fmt.Errorf("--store is %q: want memory, bolt:PATH or etcd:URL", f.store)
	}
}

// openBolt opens the bolt store in a file.
func (f *serveOptions) openBolt(path string, log *slog.Logger) (closingStore, error) {
	if f.storeReset {
		aside, err := store.ResetBolt(path)
		if err != nil {
			return nil, err
		}
		log.Warn("store reset", "path", path, "moved_to", aside)
	}
	kept, err := store.OpenBolt(path, f.limits.Store)
	if err != nil {
		return nil, err
	}
	// Reading the file leaves as much garbage as it has records.
	debug.FreeOSMemory()
	return kept, nil
}
