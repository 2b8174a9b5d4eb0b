package discoveryhttp

import (
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
	"time"

	"github.com/spanmesh/span/discoveryhttp/payload"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/mesh"
)

// Options are the inputs of a client.
type Options struct {
	// Endpoints are the URLs of the services, at least one. The machine is published to
	// all of them, and what they know is merged.
	Endpoints []string
	// Protocol is the protocol of all services; Auto if empty.
	Protocol Protocol
	// CA has certificates in PEM, which are trusted in addition to the system's.
	CA        string
	ClusterID string
	// Secret is the decoded cluster secret.
	Secret [32]byte
	// NodeID is this machine's node ID. Snapshot leaves out its affiliate.
	NodeID string
	// UserAgent is the calling program and its version, for the services.
	UserAgent string
	// Dial makes connections; nil uses net.Dialer.
	Dial reconciler.DialFunc
	// Prove makes the proofs for relays; nil to join none.
	Prove reconciler.ProveFunc
	// Cache is what Cache of an earlier client returned; nil for nothing.
	Cache []byte
	// Changed is called, from any goroutine, when Snapshot has changed. It may be nil.
	Changed func()
	Log     *slog.Logger
}

// Client is a machine's membership in one or several discovery services. It implements
// reconciler.Registry.
type Client struct {
	options  Options
	cipher   *payload.Cipher
	log      *slog.Logger
	services []*service
	// newest has the newest publications of the other machines.
	newest *ledger
	// began is when the client was made, with the part that no setting of the clock changes.
	began time.Time

	// mu guards the fields below.
	mu sync.Mutex
	// wanted is what Run keeps published; nil for none.
	wanted *publication
	// joinAs is Publication.JoinAs.
	joinAs mesh.PrivateKey
	// own numbers this machine's publications.
	own numbering
}

// publication is what a client keeps published.
type publication struct {
	reconciler.Publication
	// sequence is that of sealed.
	sequence payload.Sequence
	// made is when sequence was given, by the clock, and age the client's age then.
	made time.Time
	age  time.Duration
	// sealed and endpoints are the ciphertexts of Local and its endpoints; nil until
	// they are needed. They are kept, because sealing Local again gives another
	// ciphertext, which a service would send to every machine.
	sealed    []byte
	endpoints [][]byte
}

// NewClient returns a client. It makes no connection before Run, Fetch, Announce or Leave.
func NewClient(o Options) (*Client, error) {
	if len(o.Endpoints) == 0 {
		return nil, errors.New("no endpoint of a discovery service is set")
	}
	cached, err := decodeCache(o.Cache)
	if err != nil {
		o.Log.Warn("discovery cache not readable; starting without it", "error", err)
	}
	o.Cache = nil // it is large
	cipher, err := payload.NewCipher(o.Secret)
	if err != nil {
		return nil, err
	}
	token, err := payload.MemberToken(o.Secret, o.ClusterID)
	if err != nil {
		return nil, err
	}
	c := &Client{options: o, cipher: cipher, log: o.Log, newest: newLedger(cached.Newest, time.Now()), began: time.Now(), own: newNumbering(cached.Sequence)}
	for _, endpoint := range o.Endpoints {
		d, err := newDialer(o, token)
		if err != nil {
			return nil, err
		}
		s, err := newService(c, endpoint, d, cached)
		if err != nil {
			return nil, err
		}
		c.services = append(c.services, s)
	}
	return c, nil
}

// isExposed reports whether an endpoint is reached over a network without TLS.
func isExposed(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" {
		return false
	}
	address, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() != "localhost" && (err != nil || !address.IsLoopback())
}

// Numbers reports whether the machine with a node ID numbers its publications. Such a machine
// publishes itself again within seconds after it was deleted; others, such as Talos nodes, do so
// with their next refresh.
func (c *Client) Numbers(nodeID string) bool {
	return slices.ContainsFunc(c.services, func(s *service) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		e := s.membership.entries[nodeID]
		return e != nil && e.sequence != 0
	})
}

// Snapshot implements reconciler.Registry. It merges what the services know.
func (c *Client) Snapshot() reconciler.Snapshot {
	snapshot := reconciler.Snapshot{Refused: map[string]string{}, Conditions: c.conditions()}
	var affiliates [][]published
	for _, s := range c.services {
		members, known := s.snapshot()
		affiliates = append(affiliates, members)
		maps.Copy(snapshot.Refused, known.Refused)
		snapshot.Unreadable = append(snapshot.Unreadable, known.Unreadable...)
		snapshot.Conditions = append(snapshot.Conditions, known.Conditions...)
		for _, address := range known.Seen {
			if !slices.Contains(snapshot.Seen, address) {
				snapshot.Seen = append(snapshot.Seen, address)
			}
		}
		snapshot.Relays = append(snapshot.Relays, known.Relays...)
		snapshot.Complete = snapshot.Complete || known.Complete
	}
	slices.Sort(snapshot.Unreadable)
	snapshot.Unreadable = slices.Compact(snapshot.Unreadable)
	snapshot.Affiliates = mesh.Merge(newestOf(affiliates)...)
	snapshot.Conditions = condition.Sort(snapshot.Conditions)
	return snapshot
}

// conditions returns a condition for each other machine with this machine's identity.
func (c *Client) conditions() []condition.Condition {
	c.mu.Lock()
	defer c.mu.Unlock()
	var conditions []condition.Condition
	for _, r := range c.own.rivals {
		conditions = append(conditions, condition.Cloned(r.hostname, r.addresses))
	}
	return conditions
}

// Cache implements reconciler.Registry: the machines, with the times they were seen last.
func (c *Client) Cache() ([]byte, error) {
	latest := map[string]cachedAffiliate{}
	now := time.Now()
	for _, s := range c.services {
		for _, a := range s.cached(now) {
			if before, known := latest[a.Affiliate.NodeID]; !known || before.LastSeen.Before(a.LastSeen) {
				latest[a.Affiliate.NodeID] = a
			}
		}
	}
	c.mu.Lock()
	last := c.own.last
	c.mu.Unlock()
	return encodeCache(slices.SortedFunc(maps.Values(latest), compareCached), cacheRest{
		Newest:   c.newest.content(now),
		Relays:   c.cachedRelays(),
		Sequence: last,
	})
}

// Publish implements reconciler.Registry.
func (c *Client) Publish(p reconciler.Publication) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wanted == nil || c.joinAs != p.JoinAs {
		c.joinAs = p.JoinAs
		for _, s := range c.services {
			s.joinSoon()
		}
	}
	same := c.wanted != nil && reflect.DeepEqual(c.wanted.Local, p.Local)
	if same && (len(p.Harvested) == 0 || reflect.DeepEqual(c.wanted.Harvested, p.Harvested)) {
		return
	}
	next := &publication{Publication: p}
	if same {
		next.sequence, next.sealed, next.endpoints = c.wanted.sequence, c.wanted.sealed, c.wanted.endpoints
		next.made, next.age = c.wanted.made, c.wanted.age
	}
	c.wanted = next
	for _, s := range c.services {
		s.publishSoon()
	}
}

// publication returns the sealed publication that Run keeps published; nil for none.
func (c *Client) publication() (*publication, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wanted == nil {
		return nil, nil
	}
	return c.wanted, c.seal(c.wanted)
}

// seal numbers and encrypts a publication that is not encrypted yet, or was while the clock was
// behind: other machines may know a larger number of this one. The caller holds c.mu.
func (c *Client) seal(p *publication) (err error) {
	now, age := time.Now().Round(0), time.Since(c.began)
	if p.sealed != nil && now.Sub(p.made)-(age-p.age) < clockStep {
		return nil
	}
	if p.endpoints, err = c.sealEndpoints(p.Local.KubeSpan.Endpoints); err != nil {
		return err
	}
	stamp := c.own.next(now)
	p.sequence, p.made, p.age = stamp.Sequence, now, age
	p.sealed, err = c.cipher.SealAffiliate(p.Local, stamp)
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

// Announce implements reconciler.Registry. It succeeds if at least one service accepts
// the affiliate.
func (c *Client) Announce(ctx context.Context, local mesh.Affiliate) error {
	p := &publication{Publication: reconciler.Publication{Local: local}}
	c.mu.Lock()
	err := c.seal(p)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	err = c.each("publish to discovery", func(s *service) error {
		if err := s.ensureGreeted(ctx); err != nil {
			return err
		}
		return s.push(ctx, p)
	})
	if err != nil {
		// A service may have it all the same. What it replaces has to be newer again.
		c.renew(nil)
		return err
	}
	c.mu.Lock()
	c.wanted = p
	c.mu.Unlock()
	for _, s := range c.services {
		s.publishSoon() // to those that have not accepted it
	}
	return nil
}

// NetworkChanged implements reconciler.Registry.
func (c *Client) NetworkChanged() {
	for _, s := range c.services {
		s.reconnect()
	}
}

// Run implements reconciler.Registry.
func (c *Client) Run(ctx context.Context) {
	var group sync.WaitGroup
	for _, s := range c.services {
		group.Go(func() { s.publishLoop(ctx) })
		group.Go(func() { s.watchLoop(ctx) })
		if c.options.Prove != nil {
			group.Go(func() { s.relayLoop(ctx) })
		}
	}
	group.Wait()
	for _, s := range c.services {
		s.closeIdle()
	}
}

// each calls do for all services at once. It fails only if all calls fail.
func (c *Client) each(what string, do func(*service) error) error {
	failures := make([]error, len(c.services))
	var group sync.WaitGroup
	for i, s := range c.services {
		group.Go(func() {
			failures[i] = do(s)
			s.closeIdle()
		})
	}
	group.Wait()
	if slices.Contains(failures, nil) {
		return nil
	}
	return fmt.Errorf("%s: %w", what, errors.Join(failures...))
}

// Leave implements reconciler.Registry. The other machines drop this one at once when they
// see its last publication; after the deletion alone they would wait for it to return.
func (c *Client) Leave(ctx context.Context) error {
	id := c.options.NodeID
	c.mu.Lock()
	stamp := c.own.next(time.Now())
	c.mu.Unlock()
	stamp.Left = true
	sealed, err := c.cipher.SealAffiliate(mesh.Affiliate{NodeID: id}, stamp)
	if err != nil {
		return err
	}
	err = c.each("remove the affiliate "+id+" from discovery", func(s *service) error {
		if err := s.ensureGreeted(ctx); err != nil {
			return err
		}
		// A service that is full refuses this, and deletes all the same.
		_ = s.update(ctx, id, sealed, nil)
		return s.remove(ctx, id)
	})
	if err != nil {
		return fmt.Errorf("%w (the services drop this machine %v after its last update)", err, TTL)
	}
	return nil
}

// Remove removes the affiliate of any machine from the services. It fails if one of them does. An
// ID that cannot be printed is given as Snapshot has it in Refused.
func (c *Client) Remove(ctx context.Context, id string) error {
	ids, err := idsNamed(id)
	if err != nil {
		return fmt.Errorf("remove the affiliate %s: %w", id, err)
	}
	for _, one := range ids {
		err = errors.Join(err, c.removeID(ctx, one))
	}
	return err
}

// removeID is Remove for an ID as it is.
func (c *Client) removeID(ctx context.Context, id string) error {
	var mu sync.Mutex
	var failures []error
	_ = c.each("", func(s *service) error {
		err := s.ensureGreeted(ctx)
		if err == nil {
			err = s.remove(ctx, id)
		}
		if err != nil {
			mu.Lock()
			defer mu.Unlock()
			failures = append(failures, fmt.Errorf("remove the affiliate %q from %s: %w", id, s.endpoint, err))
		}
		return err
	})
	return errors.Join(failures...)
}

// Fetch implements reconciler.Registry.
func (c *Client) Fetch(ctx context.Context) error {
	return c.each("read from discovery", func(s *service) error { return s.fetch(ctx) })
}

func (c *Client) changed() {
	if c.options.Changed != nil {
		c.options.Changed()
	}
}

// deleted makes all other services forget machines that one service has deleted. A
// service that is unreachable now would otherwise keep them until their TTL ends.
func (c *Client) deleted(at *service, ids []string) {
	for _, s := range c.services {
		if s != at {
			s.forget(ids)
		}
	}
}
