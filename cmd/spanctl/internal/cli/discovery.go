package cli

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spanmesh/span/discoveryhttp/server"
	"github.com/spanmesh/span/discoveryhttp/store"
)

func newDiscovery(s *settings) *cobra.Command {
	cmd := &cobra.Command{Use: "discovery", Short: "Host the discovery that machines find each other by"}
	cmd.AddCommand(newServe(s))
	return cmd
}

// serveFlags are those of `spanctl discovery serve`.
type serveFlags struct {
	listen, store   string
	tlsCert, tlsKey string
	insecure        bool
}

func newServe(s *settings) *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve discovery, until stopped",
		Long: `Serve the discovery protocol: Connect, gRPC and plain HTTP with JSON on one port.
What machines publish is sealed with their cluster's secret; the server can
neither read nor forge it.

Beyond loopback the server wants a certificate, or --insecure: without TLS, who is
in a cluster can be seen and withheld on the way.`,
		Example: "  spanctl discovery serve --listen :443 --tls-cert cert.pem --tls-key key.pem --store bolt:/var/lib/spanctl/discovery.db",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.serve(cmd, f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", "127.0.0.1:3000", "address and port to listen on")
	flags.StringVar(&f.store, "store", "memory", "where affiliates are kept: memory, or bolt:PATH to survive restarts")
	flags.StringVar(&f.tlsCert, "tls-cert", "", "file of the TLS certificate chain, PEM")
	flags.StringVar(&f.tlsKey, "tls-key", "", "file of the TLS private key, PEM")
	flags.BoolVar(&f.insecure, "insecure", false, "serve beyond loopback without TLS")
	cmd.MarkFlagsRequiredTogether("tls-cert", "tls-key")
	cmd.MarkFlagsMutuallyExclusive("tls-cert", "insecure")
	return cmd
}

func (s *settings) serve(cmd *cobra.Command, f serveFlags) error {
	log, err := s.logger(cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	certificates, err := f.certificates()
	if err != nil {
		return err
	}
	listener, err := f.open(cmd, certificates != nil)
	if err != nil {
		return err
	}
	kept, err := openStore(f.store)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	log.Info("serving discovery", "address", listener.Addr().String(), "store", f.store, "tls", certificates != nil)
	return server.Run(cmd.Context(), listener, certificates, kept, log)
}

func (f serveFlags) certificates() (*tls.Config, error) {
	if f.tlsCert == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(f.tlsCert, f.tlsKey)
	if err != nil {
		return nil, fmt.Errorf("load the TLS certificate: %w", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}, nil
}

// open listens. Without TLS that is for loopback, unless the user insists.
func (f serveFlags) open(cmd *cobra.Command, secure bool) (net.Listener, error) {
	var config net.ListenConfig
	listener, err := config.Listen(cmd.Context(), "tcp", f.listen)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", f.listen, err)
	}
	address, ok := listener.Addr().(*net.TCPAddr)
	if !secure && !f.insecure && (!ok || !address.IP.IsLoopback()) {
		return nil, errors.Join(fmt.Errorf("%s is reached from other machines: give --tls-cert and --tls-key, or --insecure to do without", f.listen),
			listener.Close())
	}
	return listener, nil
}

// openStore opens the store that --store names.
func openStore(name string) (server.Store, error) {
	limits := store.Limits{Affiliates: server.MaxAffiliates, Endpoints: server.MaxEndpoints}
	kind, path, _ := strings.Cut(name, ":")
	switch {
	case name == "memory":
		return store.NewMemory(limits), nil
	case kind == "bolt" && path != "":
		return store.OpenBolt(path, limits)
	default:
		return nil, fmt.Errorf("--store is %q: want memory, or bolt:PATH", name)
	}
}
