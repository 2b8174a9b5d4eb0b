package discoveryhttp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spanmesh/span/discoveryhttp/payload"
	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/discoveryhttp/serverpb/serverpbconnect"
	"github.com/spanmesh/span/reconciler/mesh"
)

const (
	// callTimeout bounds one call but Watch.
	callTimeout = 10 * time.Second
	// firstPause and maxPause bound the wait between tries.
	firstPause = 250 * time.Millisecond
	maxPause   = 30 * time.Second
)

// Options are what a client needs to know.
type Options struct {
	// Endpoint is the URL of the service.
	Endpoint  string
	ClusterID string
	// Secret is the decoded cluster secret.
	Secret [32]byte
	// NodeID is this machine's, whose affiliate is not among the others.
	NodeID string
	// Version tells the service what is calling.
	Version string
	// FirewallMark goes on the client's packets.
	FirewallMark uint32
	// Remembered is what was known before.
	Remembered []Remembered
	// Changed is called, from any goroutine, when what is known has changed.
	Changed func()
	Log     *slog.Logger
}

// Client is a seat in a discovery service.
type Client struct {
	options   Options
	service   serverpbconnect.ClusterClient
	transport *http.Transport
	cipher    *payload.Cipher
	log       *slog.Logger

	// republish asks the publisher for an update at once.
	republish chan struct{}

	mu      sync.Mutex
	roster  *roster
	seen    []netip.Addr
	refused map[string]string
	heard   bool
	wanted  *publication
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
	service, transport, err := dial(o.Endpoint, o.FirewallMark)
	if err != nil {
		return nil, err
	}
	c := &Client{
		options:   o,
		service:   service,
		transport: transport,
		cipher:    cipher,
		log:       o.Log,
		republish: make(chan struct{}, 1),
		roster:    newRoster(o.Remembered),
		refused:   map[string]string{},
	}
	if isExposed(o.Endpoint) {
		c.log.Warn("discovery is not over TLS: payloads are sealed, but who is in the cluster can be seen and withheld on the way",
			"endpoint", o.Endpoint)
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
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.roster.affiliates()
}

// Complete tells whether the service was heard: who is not among Affiliates is
// not in the cluster.
func (c *Client) Complete() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.heard
}

// Remember is what the next client of this machine should begin with.
func (c *Client) Remember() []Remembered {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.roster.remembered(time.Now())
}

// Seen are this machine's addresses as the service sees them.
func (c *Client) Seen() []netip.Addr {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.seen)
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
	c.publishSoon()
}

func (c *Client) publishSoon() {
	select {
	case c.republish <- struct{}{}:
	default:
	}
}

// Run keeps publishing and watching until ctx ends. It leaves the affiliate at
// the service; Leave takes it away.
func (c *Client) Run(ctx context.Context) {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { c.publishLoop(ctx); return nil })
	group.Go(func() error { c.watchLoop(ctx); return nil })
	_ = group.Wait() // the loops return no errors
	c.transport.CloseIdleConnections()
}

// pauses is the sequence of waits after failures.
func pauses() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = firstPause, maxPause
	return b
}

// pause waits, and tells whether ctx is still good.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func (c *Client) publishLoop(ctx context.Context) {
	waits := pauses()
	refresh := time.NewTimer(refreshInterval)
	defer refresh.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.republish:
		case <-refresh.C:
		}
		if err := c.publish(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			wait := waits.NextBackOff()
			c.complain("publishing to discovery failed", err, wait)
			c.publishSoon()
			if !pause(ctx, wait) {
				return
			}
			continue
		}
		waits.Reset()
		refresh.Reset(refreshInterval)
	}
}

func (c *Client) publish(ctx context.Context) error {
	c.mu.Lock()
	p := c.wanted
	if p == nil {
		c.mu.Unlock()
		return nil
	}
	err := c.seal(p)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	return c.push(ctx, p)
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

// push sends a sealed publication.
func (c *Client) push(ctx context.Context, p *publication) error {
	if err := c.update(ctx, p.local.NodeID, p.sealed, p.endpoints); err != nil {
		return err
	}
	for id, endpoints := range p.harvested {
		sealed, err := c.sealEndpoints(endpoints)
		if err != nil {
			return err
		}
		if err := c.update(ctx, id, nil, sealed); err != nil {
			return err
		}
	}
	return nil
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

func (c *Client) update(ctx context.Context, id string, data []byte, endpoints [][]byte) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := c.service.AffiliateUpdate(ctx, connect.NewRequest(&serverpb.AffiliateUpdateRequest{
		ClusterId:          c.options.ClusterID,
		AffiliateId:        id,
		AffiliateData:      data,
		AffiliateEndpoints: endpoints,
		Ttl:                durationpb.New(TTL),
	}))
	return err
}

// Leave takes the machine's affiliate away from the service. That it is not
// there is no error.
func (c *Client) Leave(ctx context.Context) error {
	_, err := c.service.AffiliateDelete(ctx, connect.NewRequest(&serverpb.AffiliateDeleteRequest{
		ClusterId:   c.options.ClusterID,
		AffiliateId: c.options.NodeID,
	}))
	c.transport.CloseIdleConnections()
	if err != nil {
		return fmt.Errorf("tell discovery that this machine leaves: %w", err)
	}
	return nil
}

// Push publishes once.
func (c *Client) Push(ctx context.Context, local mesh.Affiliate) error {
	p := &publication{local: local}
	if err := c.seal(p); err != nil {
		return err
	}
	if err := c.push(ctx, p); err != nil {
		return fmt.Errorf("publish to discovery: %w", err)
	}
	return nil
}

// Fetch reads once what the service knows.
func (c *Client) Fetch(ctx context.Context) error {
	if err := c.hello(ctx); err != nil {
		return fmt.Errorf("say hello to discovery: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	response, err := c.service.List(ctx, connect.NewRequest(&serverpb.ListRequest{ClusterId: c.options.ClusterID}))
	if err != nil {
		return fmt.Errorf("list what discovery knows: %w", err)
	}
	affiliates := c.open(response.Msg.GetAffiliates())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard = true
	c.roster.snapshot(time.Now(), affiliates)
	return nil
}

func (c *Client) hello(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	response, err := c.service.Hello(ctx, connect.NewRequest(&serverpb.HelloRequest{
		ClusterId:     c.options.ClusterID,
		ClientVersion: c.options.Version,
	}))
	if err != nil {
		return err
	}
	address, ok := netip.AddrFromSlice(response.Msg.GetClientIp())
	if !ok || !address.Unmap().IsGlobalUnicast() {
		return nil
	}
	seen := []netip.Addr{address.Unmap()}
	c.mu.Lock()
	changed := !slices.Equal(c.seen, seen)
	c.seen = seen
	c.mu.Unlock()
	if changed {
		c.changed()
	}
	return nil
}

func (c *Client) changed() {
	if c.options.Changed != nil {
		c.options.Changed()
	}
}

func (c *Client) watchLoop(ctx context.Context) {
	waits := pauses()
	for {
		began := time.Now()
		err := c.watch(ctx)
		c.mu.Lock()
		c.roster.disconnect(time.Now())
		c.mu.Unlock()
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > maxPause {
			waits.Reset()
		}
		wait := waits.NextBackOff()
		c.complain("the connection to discovery broke", err, wait)
		if !pause(ctx, wait) {
			return
		}
	}
}

// complain logs a failure. Discovery may be away for long, and the mesh stands
// without it, so that it is a warning at most.
func (c *Client) complain(what string, err error, wait time.Duration) {
	c.log.Warn(what, "endpoint", c.options.Endpoint, "error", err, "retry_in", wait.Round(time.Millisecond).String())
}

// watch follows the service until the stream ends, which is always an error.
func (c *Client) watch(ctx context.Context) error {
	if err := c.hello(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.service.Watch(ctx, connect.NewRequest(&serverpb.WatchRequest{ClusterId: c.options.ClusterID}))
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	first := true
	messages := make(chan *serverpb.WatchResponse)
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error {
		for stream.Receive() {
			select {
			case messages <- stream.Msg():
			case <-groupCtx.Done():
				return groupCtx.Err()
			}
		}
		if err := stream.Err(); err != nil {
			return err
		}
		return errors.New("the service ended the stream")
	})
	sweep := time.NewTicker(comeback / 4)
	defer sweep.Stop()
	for {
		var changed bool
		select {
		case <-groupCtx.Done():
			cancel()
			return group.Wait()
		case message := <-messages:
			changed = c.take(message, first)
			if first {
				// The service may have started anew and not know this machine.
				c.publishSoon()
				changed = true
			}
			first = false
		case now := <-sweep.C:
			c.mu.Lock()
			changed = c.roster.expire(now)
			c.mu.Unlock()
		}
		if changed {
			c.changed()
		}
	}
}

// take puts a message of the stream into the roster.
func (c *Client) take(message *serverpb.WatchResponse, snapshot bool) (changed bool) {
	if message.GetDeleted() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, a := range message.GetAffiliates() {
			changed = c.roster.remove(a.GetId()) || changed
		}
		return changed
	}
	affiliates := c.open(message.GetAffiliates())
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if snapshot {
		c.heard = true
		return c.roster.snapshot(now, affiliates)
	}
	for _, a := range affiliates {
		changed = c.roster.set(now, a) || changed
	}
	return changed
}

// open decrypts what a service sent. What cannot be used is left out and said
// once.
func (c *Client) open(sealed []*serverpb.Affiliate) []mesh.Affiliate {
	affiliates := make([]mesh.Affiliate, 0, len(sealed))
	for _, s := range sealed {
		if s.GetId() == c.options.NodeID || len(s.GetData()) == 0 {
			continue // ourselves, or someone of whom only endpoints are known
		}
		a, err := c.cipher.OpenAffiliate(s.GetId(), s.GetData())
		c.refuse(s.GetId(), err)
		if err != nil {
			continue
		}
		for _, raw := range s.GetEndpoints() {
			if e, err := c.cipher.OpenEndpoint(raw); err == nil {
				a.KubeSpan.Endpoints = append(a.KubeSpan.Endpoints, e)
			}
		}
		affiliates = append(affiliates, a)
	}
	return affiliates
}

// maxRefused bounds the memory of refusals.
const maxRefused = 1024

func (c *Client) refuse(id string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		delete(c.refused, id)
		return
	}
	if c.refused[id] == err.Error() || len(c.refused) >= maxRefused {
		return
	}
	c.refused[id] = err.Error()
	c.log.Warn("an affiliate was refused", "affiliate", id, "reason", err.Error())
}
