package reconciler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/schema"
)

// DiscoveryOptions are what Discovery needs of its machine.
type DiscoveryOptions struct {
	// Drivers are the registries that a config may ask for. Where several registries
	// know a field of an affiliate, the last one's value is used.
	Drivers []Driver
	// NodeID returns this machine's node ID.
	NodeID func() (string, error)
	// UserAgent is the program and its version.
	UserAgent string
	// Dialer makes connections with a firewall mark; nil for connections without.
	Dialer func(firewallMark uint32) DialFunc
	// Prove makes the proofs for relays; nil to join none.
	Prove ProveFunc
	Cache CacheStore
	Log   *slog.Logger
}

// Discovery is a machine's membership in the registries that its config asks for. Follow
// runs them; Open and Fetch read them once. Its methods are for one goroutine.
type Discovery struct {
	options DiscoveryOptions
	// sessions are the open registries, in the order of the drivers.
	sessions []*discoverySession
	// opened is set while all registries that the config asks for are open.
	opened bool
	// version increases with every change of what is known, from any goroutine.
	version atomic.Uint64
	// outside is the last argument of SetOutside; nil before the first.
	outside atomic.Pointer[mesh.Outside]
	// router has the last arguments of SetPortMappings; nil before the first.
	router atomic.Pointer[routerSays]
	// knowledge is what was known at its version.
	knowledge Knowledge
}

// NewDiscovery returns a Discovery without an open registry.
func NewDiscovery(o DiscoveryOptions) *Discovery {
	d := &Discovery{options: o}
	d.version.Store(1)
	return d
}

// Follow opens the registries that config asks for and follows them until Close. Open
// registries whose settings differ are closed, and the machine leaves them unless only
// the firewall mark differs. It calls changed, from any goroutine, when Knowledge has
// changed.
func (d *Discovery) Follow(config *schema.Config, changed func()) error {
	return d.open(config, func(s *discoverySession) { s.follow() }, changed)
}

// Open opens the registries that config asks for and loads their caches.
func (d *Discovery) Open(config *schema.Config) error {
	return d.open(config, func(*discoverySession) {}, func() {})
}

func (d *Discovery) open(config *schema.Config, start func(*discoverySession), changed func()) error {
	d.closeOutdated(config)
	var sessions []*discoverySession
	var failures []error
	for _, driver := range d.options.Drivers {
		key, wanted := keyOf(driver, config)
		if !wanted {
			continue
		}
		s := d.session(driver.Name)
		if s == nil {
			var err error
			if s, err = d.openSession(driver, key, config, changed); err != nil {
				failures = append(failures, fmt.Errorf("open the registry %s: %w", driver.Name, err))
				continue
			}
			start(s)
			d.version.Add(1)
		}
		sessions = append(sessions, s)
	}
	d.sessions = sessions
	d.setOpened(len(failures) == 0)
	return errors.Join(failures...)
}

// keyOf returns what the registry of a driver depends on, and whether config asks for it.
func keyOf(driver Driver, config *schema.Config) (key discoveryKey, wanted bool) {
	settings := driver.Settings(config)
	return discoveryKey{clusterID: config.Cluster.ID, secret: config.Cluster.Secret,
		firewallMark: config.KubeSpan().FirewallMark, settings: settings}, settings != nil
}

// session returns the open registry of that name, or nil.
func (d *Discovery) session(name string) *discoverySession {
	if i := slices.IndexFunc(d.sessions, func(s *discoverySession) bool { return s.name == name }); i >= 0 {
		return d.sessions[i]
	}
	return nil
}

// closeOutdated closes the open registries that config asks for with other settings, and
// those that it does not ask for.
func (d *Discovery) closeOutdated(config *schema.Config) {
	var outdated, left []*discoverySession
	for _, driver := range d.options.Drivers {
		s := d.session(driver.Name)
		if s == nil {
			continue
		}
		key, wanted := keyOf(driver, config)
		if wanted && reflect.DeepEqual(key, s.key) {
			continue
		}
		outdated = append(outdated, s)
		// With another firewall mark alone, the machine is still the same member.
		key.firewallMark = s.key.firewallMark
		if !wanted || !reflect.DeepEqual(key, s.key) {
			left = append(left, s)
		}
	}
	d.remove(outdated)
	if err := d.leave(context.Background(), left); err != nil {
		d.options.Log.Warn("leaving discovery failed", "error", err)
	}
}

// remove closes sessions and forgets them.
func (d *Discovery) remove(closed []*discoverySession) {
	if len(closed) == 0 {
		return
	}
	for _, s := range closed {
		s.close()
	}
	d.sessions = slices.DeleteFunc(d.sessions, func(s *discoverySession) bool { return slices.Contains(closed, s) })
	d.version.Add(1)
}

func (d *Discovery) setOpened(opened bool) {
	if opened != d.opened {
		d.opened = opened
		d.version.Add(1)
	}
}

func (d *Discovery) openSession(driver Driver, key discoveryKey, config *schema.Config, changed func()) (*discoverySession, error) {
	nodeID, err := d.options.NodeID()
	if err != nil {
		return nil, fmt.Errorf("establish the machine's identity: %w", err)
	}
	s := &discoverySession{name: driver.Name, key: key, cache: d.options.Cache,
		log: d.options.Log.With("registry", driver.Name), changes: make(chan struct{}, 1)}
	cached, err := s.cache.Load(driver.Name, key.clusterID)
	if err != nil {
		s.log.Warn("discovery cache not readable; starting without it", "error", err)
	}
	o := RegistryOptions{
		Config:    config,
		NodeID:    nodeID,
		UserAgent: d.options.UserAgent,
		Prove:     d.options.Prove,
		Cache:     cached,
		Changed: func() {
			d.version.Add(1)
			s.markChanged()
			changed()
		},
		Log: s.log,
	}
	if d.options.Dialer != nil {
		o.Dial = d.options.Dialer(key.firewallMark)
	}
	s.registry, err = driver.Open(o)
	return s, err
}

// Same reports whether the open registries are those that config asks for.
func (d *Discovery) Same(config *schema.Config) bool {
	wanted := 0
	for _, driver := range d.options.Drivers {
		key, asked := keyOf(driver, config)
		if !asked {
			continue
		}
		wanted++
		if s := d.session(driver.Name); s == nil || !reflect.DeepEqual(s.key, key) {
			return false
		}
	}
	return wanted == len(d.sessions)
}

// Fetch reads all registries once and returns the errors of those that failed.
func (d *Discovery) Fetch(ctx context.Context) error {
	defer d.version.Add(1)
	return errors.Join(d.each(d.sessions, func(s *discoverySession) error { return s.registry.Fetch(ctx) })...)
}

// each calls do for all sessions concurrently and returns the results in their order.
func (d *Discovery) each(sessions []*discoverySession, do func(*discoverySession) error) []error {
	results := make([]error, len(sessions))
	var group sync.WaitGroup
	for i, s := range sessions {
		group.Go(func() {
			if err := do(s); err != nil {
				results[i] = fmt.Errorf("registry %s: %w", s.name, err)
			}
		})
	}
	group.Wait()
	return results
}

// Knowledge returns what the open registries know. It lists them only if one has changed.
func (d *Discovery) Knowledge() Knowledge {
	// The version is read first: what changes meanwhile is in the next call's result.
	version := d.version.Load()
	if d.knowledge.Version == version {
		return d.knowledge
	}
	snapshots := make([]Snapshot, len(d.sessions))
	for i, s := range d.sessions {
		snapshots[i] = s.registry.Snapshot()
	}
	d.knowledge = mergeSnapshots(snapshots)
	if outside := d.outside.Load(); outside != nil {
		d.knowledge.Outside = *outside
	}
	if router := d.router.Load(); router != nil {
		d.knowledge.Outside.Router, d.knowledge.Outside.RouterFaults = router.mappings, router.faults
	}
	d.knowledge.Version = version
	d.knowledge.Complete = d.knowledge.Complete && d.opened
	return d.knowledge
}

// SetOutside sets how NATs map this machine's port, as servers see it. It is safe for any goroutine.
func (d *Discovery) SetOutside(outside mesh.Outside) {
	d.outside.Store(&outside)
	d.version.Add(1)
}

// routerSays is what became of the port mappings that the router was asked for.
type routerSays struct {
	mappings []mesh.PortMapping
	faults   []mesh.PortMappingFault
}

// SetPortMappings sets the ports that the router maps to this machine's, or why it maps none. It is safe
// for any goroutine.
func (d *Discovery) SetPortMappings(router []mesh.PortMapping, faults []mesh.PortMappingFault) {
	d.router.Store(&routerSays{router, faults})
	d.version.Add(1)
}

// Sessions returns the connections of the open registries.
func (d *Discovery) Sessions() []health.Session {
	var all []health.Session
	for _, s := range d.sessions {
		for _, x := range s.registry.Sessions() {
			x.Registry = s.name
			all = append(all, x)
		}
	}
	return all
}

// mergeSnapshots joins what several registries know.
func mergeSnapshots(snapshots []Snapshot) Knowledge {
	k := Knowledge{Complete: true, Refused: map[string]string{}, PresharedKeys: map[mesh.Key]mesh.PrivateKey{}}
	var affiliates [][]*mesh.Affiliate
	for _, s := range snapshots {
		if len(s.Affiliates) > 0 {
			affiliates = append(affiliates, s.Affiliates)
		}
		for _, address := range s.Seen {
			if !slices.Contains(k.Seen, address) {
				k.Seen = append(k.Seen, address)
			}
		}
		if s.Node.Name != "" {
			k.Node = s.Node
		}
		maps.Copy(k.Refused, s.Refused)
		k.Unreadable = append(k.Unreadable, s.Unreadable...)
		k.Conditions = append(k.Conditions, s.Conditions...)
		k.Relays = mesh.JoinRelays(k.Relays, s.Relays)
		maps.Copy(k.PresharedKeys, s.PresharedKeys)
		k.Complete = k.Complete && s.Complete
	}
	slices.Sort(k.Unreadable)
	k.Unreadable = slices.Compact(k.Unreadable)
	if len(affiliates) == 1 {
		k.Affiliates = affiliates[0]
	} else {
		k.Affiliates = mesh.Merge(affiliates...)
	}
	return k
}

// Publish sets what the registries keep published.
func (d *Discovery) Publish(p Publication) {
	for _, s := range d.sessions {
		s.registry.Publish(p)
	}
}

// NetworkChanged makes all registries reconnect.
func (d *Discovery) NetworkChanged() {
	for _, s := range d.sessions {
		s.registry.NetworkChanged()
	}
}

// Announce publishes this machine now and waits until at least one registry has accepted
// it. It fails if none has. The error is ErrNoPublisher if the config has no registry to
// publish in.
func (d *Discovery) Announce(ctx context.Context, local mesh.Affiliate) error {
	missed, err := d.announce(ctx, local)
	if missed != nil {
		d.options.Log.Warn("publishing failed", "error", missed)
	}
	return err
}

// announce is Announce that returns the errors of the registries that have not accepted, where
// another has.
func (d *Discovery) announce(ctx context.Context, local mesh.Affiliate) (missed, err error) {
	results := d.each(d.sessions, func(s *discoverySession) error { return s.registry.Announce(ctx, local) })
	results = slices.DeleteFunc(results, func(err error) bool { return errors.Is(err, ErrReadOnly) })
	switch {
	case len(results) == 0:
		return nil, ErrNoPublisher
	case !slices.Contains(results, nil):
		return nil, errors.Join(results...)
	default:
		return errors.Join(results...), nil
	}
}

// SaveCaches writes the caches of the open registries. Follow does it by itself.
func (d *Discovery) SaveCaches() {
	for _, s := range d.sessions {
		s.saveCache()
	}
}

// Close stops following all registries and leaves the machine published.
func (d *Discovery) Close() {
	d.remove(slices.Clone(d.sessions))
	d.setOpened(false)
}

// Leave closes all registries and removes this machine from them. It fails if a registry
// could not be reached: other machines keep using what that registry has.
func (d *Discovery) Leave(ctx context.Context) error {
	left := slices.Clone(d.sessions)
	d.Close()
	return d.leave(ctx, left)
}

func (d *Discovery) leave(ctx context.Context, sessions []*discoverySession) error {
	return errors.Join(d.each(sessions, func(s *discoverySession) error { return s.leave(ctx) })...)
}

// LeaveDiscovery removes this machine from all registries that config asks for, even if
// they are not open.
func LeaveDiscovery(ctx context.Context, d *Discovery, config *schema.Config) error {
	if err := errors.Join(d.Open(config), d.Leave(ctx)); err != nil {
		return fmt.Errorf("the other machines were not told that this one leaves; `spanctl down` tries again: %w", err)
	}
	return nil
}
