package discoveryhttp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/spanmesh/span/discoveryhttp/payload"
	"github.com/spanmesh/span/reconciler/mesh"
)

// Options are what a client needs to know.
type Options struct {
	// Endpoints are the URLs of the services. The machine is published to all, and
	// what they know is merged.
	Endpoints []string
	// Protocol is how they are spoken to.
	Protocol Protocol
	// CA are the authorities, PEM, that sign certificates of services, besides the
	// system's.
	CA        string
	ClusterID string
	// Secret is the decoded cluster secret.
	Secret [32]byte
	// NodeID is this machine's, whose affiliate is not among the others.
	NodeID string
	// Version tells the services what is calling.
	Version string
	// FirewallMark goes on the client's packets.
	FirewallMark uint32
	// Remembered is what was known before.
	Remembered []Remembered
	// Changed is called, from any goroutine, when what is known has changed.
	Changed func()
	Log     *slog.Logger
}

// Client is a seat in one or several discovery services.
type Client struct {
	options  Options
	cipher   *payload.Cipher
	log      *slog.Logger
	services []*service
	version  atomic.Uint64

	mu     sync.Mutex
	wanted *publication
}

// publication is what a client keeps published.
type publication struct {
	local     mesh.Affiliate
	harvested map[string][]netip.AddrPort
	// sealed is local's ciphertext. It is kept, since a service tells everyone
	// of data that differ.
	sealed    []byte
	endpoints [][]byte
}

// NewClient makes a client. It does nothing until Run, Fetch or Push is called.
func NewClient(o Options) (*Client, error) {
	cipher, err := payload.NewCipher(o.Secret)
	if err != nil {
		return nil, err
	}
	token, err := payload.MemberToken(o.Secret, o.ClusterID)
	if err != nil {
		return nil, err
	}
	c := &Client{options: o, cipher: cipher, log: o.Log}
	c.version.Store(1)
	for _, endpoint := range o.Endpoints {
		d, err := newDialer(o, token)
		if err != nil {
			return nil, err
		}
		s, err := newService(c, endpoint, d)
		if err != nil {
			return nil, err
		}
		c.services = append(c.services, s)
		if isExposed(endpoint) {
			c.log.Warn("discovery is not over TLS: payloads are sealed, but who is in the cluster can be seen and withheld on the way",
				"endpoint", endpoint)
		}
	}
	return c, nil
}

// isExposed tells an endpoint that is reached over a network without TLS.
func isExposed(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" {
		return false
	}
	address, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() != "localhost" && (err != nil || !address.IsLoopback())
}

// Affiliates are the other machines that are known now, by node ID.
func (c *Client) Affiliates() []mesh.Affiliate {
	registries := make([][]mesh.Affiliate, len(c.services))
	for i, s := range c.services {
		registries[i] = s.affiliates()
	}
	return mesh.Merge(registries...)
}

// Refused tells, by ID, why affiliates that a service has are not used.
func (c *Client) Refused() map[string]string {
	refused := map[string]string{}
	for _, s := range c.services {
		s.mu.Lock()
		maps.Copy(refused, s.refused)
		s.mu.Unlock()
	}
	return refused
}

// Complete tells whether a service was heard, or there is none: who is not among
// Affiliates is not in the cluster.
func (c *Client) Complete() bool {
	return len(c.services) == 0 || slices.ContainsFunc(c.services, (*service).wasHeard)
}

// Remember is what the next client of this machine should begin with.
func (c *Client) Remember() []Remembered {
	latest := map[string]Remembered{}
	now := time.Now()
	for _, s := range c.services {
		for _, r := range s.remembered(now) {
			if before, known := latest[r.Affiliate.NodeID]; !known || before.LastSeen.Before(r.LastSeen) {
				latest[r.Affiliate.NodeID] = r
			}
		}
	}
	return slices.SortedFunc(maps.Values(latest), func(a, b Remembered) int { return cmp.Compare(a.Affiliate.NodeID, b.Affiliate.NodeID) })
}

// Seen are this machine's addresses as the services see them.
func (c *Client) Seen() []netip.Addr {
	var seen []netip.Addr
	for _, s := range c.services {
		s.mu.Lock()
		if s.seen.IsValid() && !slices.Contains(seen, s.seen) {
			seen = append(seen, s.seen)
		}
		s.mu.Unlock()
	}
	return seen
}

// Publish says what the client keeps published from now on. It does not wait.
func (c *Client) Publish(local mesh.Affiliate, harvested map[string][]netip.AddrPort) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wanted != nil && reflect.DeepEqual(c.wanted.local, local) && (len(harvested) == 0 || reflect.DeepEqual(c.wanted.harvested, harvested)) {
		return
	}
	next := &publication{local: local, harvested: harvested}
	if c.wanted != nil && reflect.DeepEqual(c.wanted.local, local) {
		next.sealed, next.endpoints = c.wanted.sealed, c.wanted.endpoints
	}
	c.wanted = next
	for _, s := range c.services {
		s.publishSoon()
	}
}

// publication returns what is to be published, sealed; nil if there is nothing.
func (c *Client) publication() (*publication, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wanted == nil {
		return nil, nil
	}
	return c.wanted, c.seal(c.wanted)
}

// seal encrypts a publication unless it is already.
func (c *Client) seal(p *publication) (err error) {
	if p.sealed != nil {
		return nil
	}
	if p.endpoints, err = c.sealEndpoints(p.local.KubeSpan.Endpoints); err != nil {
		return err
	}
	p.sealed, err = c.cipher.SealAffiliate(p.local)
	return err
}

func (c *Client) sealEndpoints(endpoints []netip.AddrPort) ([][]byte, error) {
	sealed := make([][]byte, len(endpoints))
	for i, e := range endpoints {
		var err error
		if sealed[i], err = c.cipher.SealEndpoint(e); err != nil {
			return nil, err
		}
	}
	return sealed, nil
}

// Announce publishes at once, and waits until a service has taken it. What is
// kept published from then on is this.
func (c *Client) Announce(ctx context.Context, local mesh.Affiliate) error {
	p := &publication{local: local}
	if err := c.seal(p); err != nil {
		return err
	}
	failures := make([]error, len(c.services))
	var group errgroup.Group
	for i, s := range c.services {
		group.Go(func() error { failures[i] = s.push(ctx, p); return nil })
	}
	_ = group.Wait() // the failures are kept apart
	if !slices.Contains(failures, nil) {
		return fmt.Errorf("publish to discovery: %w", errors.Join(failures...))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wanted = p
	return nil
}

// Reconnect makes the connections anew, as is needed when the machine's network
// has changed.
func (c *Client) Reconnect() {
	for _, s := range c.services {
		s.reconnect()
	}
}

// Version differs from that of any earlier knowledge of this client.
func (c *Client) Version() uint64 { return c.version.Load() }

// Run keeps publishing and watching until ctx ends. It leaves the affiliate at
// the services; Leave takes it away.
func (c *Client) Run(ctx context.Context) {
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range c.services {
		group.Go(func() error { s.publishLoop(ctx); return nil })
		group.Go(func() error { s.watchLoop(ctx); return nil })
	}
	_ = group.Wait() // the loops return no errors
	for _, s := range c.services {
		s.close()
	}
}

// each does something at every service at once. It fails only where it fails at
// all of them.
func (c *Client) each(what string, do func(*service) error) error {
	if len(c.services) == 0 {
		return nil
	}
	failures := make([]error, len(c.services))
	var group errgroup.Group
	for i, s := range c.services {
		group.Go(func() error {
			failures[i] = do(s)
			s.close()
			return nil
		})
	}
	_ = group.Wait() // the failures are kept apart
	if slices.Contains(failures, nil) {
		return nil
	}
	return fmt.Errorf("%s: %w", what, errors.Join(failures...))
}

// Leave takes the machine's affiliate away from the services. That it is not
// there is no error.
func (c *Client) Leave(ctx context.Context) error {
	return c.each("tell discovery that this machine leaves", func(s *service) error { return s.remove(ctx, c.options.NodeID) })
}

// Remove takes any affiliate away.
func (c *Client) Remove(ctx context.Context, id string) error {
	return c.each("remove the affiliate from discovery", func(s *service) error { return s.remove(ctx, id) })
}

// Push publishes once.
func (c *Client) Push(ctx context.Context, local mesh.Affiliate) error {
	p := &publication{local: local}
	if err := c.seal(p); err != nil {
		return err
	}
	return c.each("publish to discovery", func(s *service) error { return s.push(ctx, p) })
}

// Fetch reads once what the services know.
func (c *Client) Fetch(ctx context.Context) error {
	return c.each("ask discovery", func(s *service) error { return s.fetch(ctx) })
}

func (c *Client) changed() {
	c.version.Add(1)
	if c.options.Changed != nil {
		c.options.Changed()
	}
}

// deleted notes that one service told of deletions: those that cannot be heard
// now would remember the machines for long.
func (c *Client) deleted(at *service, ids []string) {
	for _, s := range c.services {
		if s != at {
			s.forget(ids)
		}
	}
}
