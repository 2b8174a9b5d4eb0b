package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"github.com/spanmesh/span/cmd/spanctl/internal/logrepeat"
	"github.com/spanmesh/span/cmd/spanctl/internal/version"
	"github.com/spanmesh/span/discoveryhttp/server"
	"github.com/spanmesh/span/discoveryhttp/store"
)

// serveOptions are the flags of `spanctl discovery serve`.
type serveOptions struct {
	*globals
	listen, store   string
	stunListen      string
	storeReset      bool
	tlsCert, tlsKey string
	insecure        bool
	auth, redirect  string
	trustedProxies  []string
	hideAddress     bool
	reflect         bool
	invite          bool
	page, metrics   string
	etcd            etcdFlags
	limits          server.Limits
	relay           relayOptions
	memory          int64
	// given are the flags that the user has set.
	given *pflag.FlagSet
}

func newServe(g *globals) *cobra.Command {
	f := &serveOptions{globals: g, limits: server.DefaultLimits()}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a discovery server until stopped",
		Long: `Serve the discovery protocol on one port, by Connect, gRPC and plain HTTP with JSON,
and beside it /healthz, /readyz, /metrics and, at /, a page with the server's load and
latencies over time. What machines publish is encrypted with their cluster's secret;
the server can neither read nor forge it.

An address other than loopback needs a certificate, or --insecure: with plain HTTP,
membership can be observed or blocked on the path. A certificate is reloaded when
its files change.

Under systemd, the server takes the sockets of its socket unit instead of --listen,
and notifies readiness.`,
		Example: "  spanctl discovery serve --listen :443 --tls-cert cert.pem --tls-key key.pem",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), streamsOf(cmd)) },
	}
	f.flags(cmd.Flags())
	cmd.MarkFlagsRequiredTogether("tls-cert", "tls-key")
	cmd.MarkFlagsRequiredTogether("etcd-cert", "etcd-key")
	cmd.MarkFlagsMutuallyExclusive("tls-cert", "insecure")
	return cmd
}

func (f *serveOptions) flags(flags *pflag.FlagSet) {
	flags.StringVar(&f.listen, "listen", "127.0.0.1:3000", "address and port to listen on")
	flags.StringVar(&f.stunListen, "stun-listen", stunSame, "UDP address and port at which machines are told the outside address of their WireGuard port, by STUN: same for those of --listen, or off. Answers are no larger than requests, and an address, or IPv6 /64, has 20 a second")
	flags.StringVar(&f.store, "store", "", "where affiliates are stored: memory, bolt:PATH to survive restarts, or etcd:URL,URL for several servers (default bolt:discovery.db in the state directory)")
	flags.BoolVar(&f.storeReset, "store-reset", false, "start with an empty store and move the file of a bolt store aside, such as a damaged one")
	f.relay.flags(flags)
	f.etcd.flags(flags)
	flags.StringVar(&f.tlsCert, "tls-cert", "", "PEM file of the TLS certificate chain")
	flags.StringVar(&f.tlsKey, "tls-key", "", "PEM file of the TLS private key")
	flags.BoolVar(&f.insecure, "insecure", false, "serve addresses other than loopback without TLS")
	flags.StringVar(&f.auth, "auth", string(server.Open), "who may read and change a cluster: open for all who know its ID, as Talos nodes need it; member for machines with its secret")
	flags.StringSliceVar(&f.trustedProxies, "trusted-proxies", nil, "networks of proxies whose X-Real-IP and X-Forwarded-For headers are trusted; with any, no caller counts as on this machine")
	flags.BoolVar(&f.hideAddress, "hide-client-address", false, "do not tell a machine the address that it calls from, which it would publish as its own")
	flags.BoolVar(&f.reflect, "reflect", true, "send three datagrams of UDP to a caller's own address when it asks, for spanctl doctor; an address, or IPv6 /64, has one try in 10 seconds")
	flags.BoolVar(&f.invite, "invite", true, "keep the sealed invitations of spanctl invite, and give them to the machines that join")
	flags.StringVar(&f.page, "page", string(server.Private), "who sees numbers on the page at /: private for browsers on this machine, without proxies; public for everybody, rounded, and none below ten clusters; off for no page")
	flags.StringVar(&f.metrics, "metrics", string(server.Public), "who may read /metrics: public, private for this machine, or off")
	flags.StringVar(&f.redirect, "redirect", "", "host:port of another server that all clients are sent to")
	f.given = flags
	f.limitFlags(flags)
}

func (f *serveOptions) limitFlags(flags *pflag.FlagSet) {
	sizeVar(flags, &f.memory, "max-memory", "most memory that clients can make the server take, such as 512MiB or 2G; limits that are not given are lowered to fit (default half of the memory of the machine or container)")
	l := &f.limits
	sizeVar(flags, &l.ID, "max-id", "longest cluster or affiliate ID")
	sizeVar(flags, &l.Data, "max-data", "longest encrypted data of an affiliate")
	sizeVar(flags, &l.Endpoint, "max-endpoint", "longest encrypted endpoint")
	flags.IntVar(&l.Store.Endpoints, "max-endpoints", l.Store.Endpoints, "most endpoints of an affiliate")
	flags.IntVar(&l.Store.Affiliates, "max-affiliates", l.Store.Affiliates, "most affiliates of a cluster")
	flags.IntVar(&l.Store.Watchers, "max-watchers", l.Store.Watchers, "most watchers of a cluster, on this server")
	flags.IntVar(&l.Store.Clusters, "max-clusters", l.Store.Clusters, "most clusters; 0 for no limit")
	flags.IntVar(&l.Store.CallerClusters, "max-clusters-per-address", l.Store.CallerClusters, "most clusters that one address, or IPv6 /64, has created or alone watches; 0 for no limit")
	sizeVar(flags, &l.Store.Bytes, "max-bytes", "most memory of all affiliates; 0 for no limit")
	sizeVar(flags, &l.Store.CallerBytes, "max-bytes-per-address", "most memory of the affiliates that one address, or IPv6 /64, has published; 0 for no limit")
	flags.IntVar(&l.CallsPerAddress, "max-calls-per-address", l.CallsPerAddress, "most open calls of one address, or IPv6 /64, watches among them; 0 for no limit")
	flags.IntVar(&l.Calls, "max-calls", l.Calls, "most open calls, watches among them; 0 for no limit")
	flags.IntVar(&l.WatchesPerAddress, "max-watches-per-address", l.WatchesPerAddress, "most open watches and lists by gRPC of one address, or IPv6 /64, on this server; 0 for no limit")
	flags.IntVar(&l.Watches, "max-watches", l.Watches, "most open watches and lists by gRPC on this server; 0 for no limit")
	sizeVar(flags, &l.Sent, "max-sent", "most memory of what is encoded for watches and lists and not taken, or kept for further ones; 0 for no limit")
	sizeVar(flags, &l.Store.Backlog, "max-backlog", "most memory of changes that watches have yet to take; 0 for no limit")
	flags.IntVar(&l.Connections.Connections, "max-connections", l.Connections.Connections, "most open connections")
	flags.IntVar(&l.Connections.PerCaller, "max-connections-per-address", l.Connections.PerCaller, "most open connections of one address, or IPv6 /64, that is no trusted proxy")
	flags.BoolVar(&l.Connections.ProxiesSeparate, "proxies-separate-grpc", false, "trusted proxies never send gRPC and other requests on one connection, as nginx does not, but Caddy, Envoy, HAProxy and Traefik may; faster")
	flags.DurationVar(&l.TTL, "max-ttl", l.TTL, "longest life of an affiliate without a refresh")
	flags.DurationVar(&l.MaxWait, "max-wait", l.MaxWait, "longest wait of a call beyond a rate for its turn; a call whose turn would come later is refused")
	flags.IntVar(&l.WaitingPerAddress, "max-waiting-per-address", l.WaitingPerAddress, "most calls of one address, or IPv6 /64, that wait for their turn; 0 for no limit")
	flags.IntVar(&l.Waiting, "max-waiting", l.Waiting, "most calls that wait for their turn; 0 for no limit")
	flags.Float64Var(&l.PerAddress.PerSecond, "rate-per-address", l.PerAddress.PerSecond, "calls per second of one address, or IPv6 /64; 0 for no limit")
	flags.IntVar(&l.PerAddress.Burst, "burst-per-address", l.PerAddress.Burst, "calls of one address at once")
	flags.Float64Var(&l.PerCluster.PerSecond, "rate-per-cluster", l.PerCluster.PerSecond, "calls per second of one cluster; 0 for no limit")
	flags.IntVar(&l.PerCluster.Burst, "burst-per-cluster", l.PerCluster.Burst, "calls of one cluster at once")
}

func (f *serveOptions) run(ctx context.Context, s streams) (err error) {
	log, err := f.logger(s.err)
	if err != nil {
		return err
	}
	log = logrepeat.Limit(log)
	if err := f.fitMemory(log); err != nil {
		return err
	}
	o, err := f.options(log)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	var certificates *tls.Config
	if f.tlsCert != "" {
		certificate, err := server.LoadCertificate(f.tlsCert, f.tlsKey, log)
		if err != nil {
			return err
		}
		certificates = certificate.TLS()
		group.Go(func() error { return certificate.Watch(ctx) })
	}
	open, err := f.open(ctx, certificates != nil, log)
	if err != nil {
		return err
	}
	if f.store == "" {
		f.store = f.defaultStore()
	}
	kept, err := f.openStore(ctx, log)
	if err != nil {
		return errors.Join(err, open.close())
	}
	o.Store = kept
	if err := f.answer(&o, open, log); err != nil {
		return errors.Join(err, open.close(), kept.Close())
	}
	for _, l := range open.listeners {
		log.Info("serving discovery", "address", l.Addr().String(), "store", f.store, "tls", certificates != nil, "auth", f.auth)
	}
	notifySystemd(log, daemon.SdNotifyReady)
	group.Go(func() error { return tuneGC(ctx, gcOfServer) })
	if bolt, ok := kept.(*store.Bolt); ok {
		group.Go(func() error {
			if err := bolt.ServeCopies(ctx); err != nil {
				log.Warn("backup while running unavailable", "error", err)
			}
			return nil
		})
	}
	group.Go(func() error {
		<-ctx.Done()
		notifySystemd(log, daemon.SdNotifyStopping)
		return nil
	})
	group.Go(func() error { return server.Run(ctx, open.listeners, certificates, o) })
	return errors.Join(group.Wait(), kept.Close())
}

// notifySystemd sends a state to systemd. Without systemd it does nothing.
func notifySystemd(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("systemd notification failed", "state", state, "error", err)
	}
}

// options returns the options of the server, without its store.
func (f *serveOptions) options(log *slog.Logger) (server.Options, error) {
	o := server.Options{Limits: f.limits, Auth: server.Auth(f.auth), Redirect: f.redirect, HideClientAddress: f.hideAddress, Reflect: f.reflect, Invite: f.invite,
		Page: server.Access(f.page), Metrics: server.Access(f.metrics), Version: version.Version, Log: log}
	if err := oneOf("auth", f.auth, string(server.Open), string(server.Member)); err != nil {
		return o, err
	}
	for flag, value := range map[string]string{"page": f.page, "metrics": f.metrics} {
		if err := oneOf(flag, value, string(server.Public), string(server.Private), string(server.Off)); err != nil {
			return o, err
		}
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
		"max-endpoints": f.limits.Store.Endpoints, "max-affiliates": f.limits.Store.Affiliates, "max-watchers": f.limits.Store.Watchers,
		"max-connections": f.limits.Connections.Connections, "max-connections-per-address": f.limits.Connections.PerCaller} {
		if n <= 0 {
			return o, fmt.Errorf("--%s is %d: want at least 1", flag, n)
		}
	}
	return o, errors.Join(f.relay.check(), f.checkSigns())
}

// checkSigns returns an error for limits that would refuse every call.
func (f *serveOptions) checkSigns() error {
	if f.limits.TTL == 0 {
		return errors.New("--max-ttl is 0s: want more")
	}
	var err error
	f.given.Visit(func(flag *pflag.Flag) {
		limit := strings.HasPrefix(flag.Name, "max-") || strings.HasPrefix(flag.Name, "rate-") || strings.HasPrefix(flag.Name, "burst-")
		if value := flag.Value.String(); err == nil && limit && strings.HasPrefix(value, "-") {
			err = fmt.Errorf("--%s is %s: want at least 0", flag.Name, value)
		}
	})
	return err
}

// listenHint says how an address is written that is only a port, or has none.
func listenHint(address string) string {
	if _, err := strconv.ParseUint(address, 10, 16); err == nil {
		return fmt.Sprintf("; want 127.0.0.1:%s, or :%s for all addresses of this machine", address, address)
	}
	if ip, err := netip.ParseAddr(strings.Trim(address, "[]")); err == nil {
		return "; want " + net.JoinHostPort(ip.String(), "3000")
	}
	if _, _, err := net.SplitHostPort(address); err != nil {
		return "; want ADDRESS:PORT, such as 127.0.0.1:3000, or :3000 for all addresses of this machine"
	}
	return ""
}
