package cli

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/spanmesh/span/cmd/spanctl/internal/version"
	"github.com/spanmesh/span/discoveryhttp/server"
)

// serveFlags are those of `spanctl discovery serve`.
type serveFlags struct {
	listen, store   string
	tlsCert, tlsKey string
	insecure        bool
	auth, redirect  string
	trustedProxies  []string
	etcd            etcdFlags
	limits          server.Limits
}

func newServe(s *settings) *cobra.Command {
	f := serveFlags{limits: server.DefaultLimits()}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve discovery, until stopped",
		Long: `Serve the discovery protocol: Connect, gRPC and plain HTTP with JSON on one port,
and beside it /healthz, /readyz, /metrics and a page. What machines publish is
sealed with their cluster's secret; the server can neither read nor forge it.

Beyond loopback the server wants a certificate, or --insecure: without TLS, who is
in a cluster can be seen and withheld on the way. A certificate is loaded again
when its files change.

Under systemd, sockets that are passed take the place of --listen, and readiness
is notified.`,
		Example: "  spanctl discovery serve --listen :443 --tls-cert cert.pem --tls-key key.pem",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.serve(cmd, f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", "127.0.0.1:3000", "address and port to listen on")
	flags.StringVar(&f.store, "store", "", "where affiliates are kept: memory, bolt:PATH to survive restarts, or etcd:URL,URL for several servers (default bolt:discovery.db in the state directory)")
	f.etcd.flags(flags)
	flags.StringVar(&f.tlsCert, "tls-cert", "", "file of the TLS certificate chain, PEM")
	flags.StringVar(&f.tlsKey, "tls-key", "", "file of the TLS private key, PEM")
	flags.BoolVar(&f.insecure, "insecure", false, "serve beyond loopback without TLS")
	flags.StringVar(&f.auth, "auth", string(server.Open), "who may see and change a cluster: open for all who know its ID, as Talos nodes need it; member for those who hold its secret")
	flags.StringSliceVar(&f.trustedProxies, "trusted-proxies", nil, "networks of proxies whose X-Real-IP and X-Forwarded-For are believed")
	flags.StringVar(&f.redirect, "redirect", "", "host:port of another server, to which all clients are sent")
	l := &f.limits
	flags.IntVar(&l.ID, "max-id", l.ID, "longest cluster or affiliate ID, bytes")
	flags.IntVar(&l.Data, "max-data", l.Data, "longest sealed affiliate, bytes")
	flags.IntVar(&l.Endpoint, "max-endpoint", l.Endpoint, "longest sealed endpoint, bytes")
	flags.IntVar(&l.Store.Endpoints, "max-endpoints", l.Store.Endpoints, "most endpoints of an affiliate")
	flags.IntVar(&l.Store.Affiliates, "max-affiliates", l.Store.Affiliates, "most affiliates of a cluster")
	flags.IntVar(&l.Store.Watchers, "max-watchers", l.Store.Watchers, "most watchers of a cluster, on this server")
	flags.IntVar(&l.Store.Clusters, "max-clusters", l.Store.Clusters, "most clusters; 0 for no bound")
	flags.DurationVar(&l.TTL, "max-ttl", l.TTL, "longest life of an affiliate without a refresh")
	flags.Float64Var(&l.PerAddress.PerSecond, "rate-per-address", l.PerAddress.PerSecond, "calls per second of one address, or IPv6 /64; 0 for no bound")
	flags.IntVar(&l.PerAddress.Burst, "burst-per-address", l.PerAddress.Burst, "calls of one address at once")
	flags.Float64Var(&l.PerCluster.PerSecond, "rate-per-cluster", l.PerCluster.PerSecond, "calls per second of one cluster; 0 for no bound")
	flags.IntVar(&l.PerCluster.Burst, "burst-per-cluster", l.PerCluster.Burst, "calls of one cluster at once")
	cmd.MarkFlagsRequiredTogether("tls-cert", "tls-key")
	cmd.MarkFlagsRequiredTogether("etcd-cert", "etcd-key")
	cmd.MarkFlagsMutuallyExclusive("tls-cert", "insecure")
	return cmd
}

func (s *settings) serve(cmd *cobra.Command, f serveFlags) (err error) {
	log, err := s.logger(cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	o, err := f.options(log)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(cmd.Context())
	var certificates *tls.Config
	if f.tlsCert != "" {
		certificate, err := server.LoadCertificate(f.tlsCert, f.tlsKey, log)
		if err != nil {
			return err
		}
		certificates = certificate.TLS()
		group.Go(func() error { return certificate.Watch(ctx) })
	}
	listeners, err := f.open(cmd, certificates != nil)
	if err != nil {
		return err
	}
	if f.store == "" {
		f.store = "bolt:" + filepath.Join(s.stateDir, "discovery.db")
	}
	if o.Store, err = f.openStore(ctx, log); err != nil {
		return errors.Join(err, closeAll(listeners))
	}
	for _, l := range listeners {
		log.Info("serving discovery", "address", l.Addr().String(), "store", f.store, "tls", certificates != nil, "auth", f.auth)
	}
	notify(log, daemon.SdNotifyReady)
	group.Go(func() error { return tuneGC(ctx) })
	group.Go(func() error {
		<-ctx.Done()
		notify(log, daemon.SdNotifyStopping)
		return nil
	})
	group.Go(func() error { return server.Run(ctx, listeners, certificates, o) })
	return group.Wait()
}

// notify tells systemd of a state; elsewhere nobody listens.
func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("systemd could not be notified", "state", state, "error", err)
	}
}

// options are those of the server, but for its store.
func (f serveFlags) options(log *slog.Logger) (server.Options, error) {
	o := server.Options{Limits: f.limits, Auth: server.Auth(f.auth), Redirect: f.redirect, Version: version.Version, Log: log}
	if err := oneOf("auth", f.auth, string(server.Open), string(server.Member)); err != nil {
		return o, err
	}
	for _, text := range f.trustedProxies {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return o, fmt.Errorf("--trusted-proxies has %q: want networks in CIDR notation, such as 10.0.0.0/8", text)
		}
		o.TrustedProxies = append(o.TrustedProxies, prefix)
	}
	if f.redirect != "" {
		if _, _, err := net.SplitHostPort(f.redirect); err != nil {
			return o, fmt.Errorf("--redirect is %q: want host:port", f.redirect)
		}
	}
	for flag, n := range map[string]int{"max-id": f.limits.ID, "max-data": f.limits.Data, "max-endpoint": f.limits.Endpoint,
		"max-endpoints": f.limits.Store.Endpoints, "max-affiliates": f.limits.Store.Affiliates, "max-watchers": f.limits.Store.Watchers} {
		if n <= 0 {
			return o, fmt.Errorf("--%s is %d: want more than nothing", flag, n)
		}
	}
	return o, nil
}

// open listens, or takes the sockets that systemd passes. Without TLS that is for
// loopback, unless the user insists.
func (f serveFlags) open(cmd *cobra.Command, secure bool) ([]net.Listener, error) {
	listeners, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("take the sockets of systemd: %w", err)
	}
	if len(listeners) == 0 {
		listener, err := new(net.ListenConfig).Listen(cmd.Context(), "tcp", f.listen)
		if err != nil {
			return nil, fmt.Errorf("listen on %s: %w", f.listen, err)
		}
		listeners = append(listeners, listener)
	}
	for _, l := range listeners {
		if address, ok := l.Addr().(*net.TCPAddr); !secure && !f.insecure && (!ok || !address.IP.IsLoopback()) {
			return nil, errors.Join(fmt.Errorf("%s is reached from other machines: give --tls-cert and --tls-key, or --insecure to do without", l.Addr()),
				closeAll(listeners))
		}
	}
	return listeners, nil
}

func closeAll(listeners []net.Listener) error {
	var err error
	for _, l := range listeners {
		err = errors.Join(err, l.Close())
	}
	return err
}
