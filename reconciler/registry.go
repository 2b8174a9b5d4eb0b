package reconciler

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/schema"
)

// Registry is a source of the other machines of a cluster, and usually a place where
// this machine is published. Its methods are safe for concurrent use.
//
// A Registry calls RegistryOptions.Changed whenever Snapshot would return something
// else than before.
type Registry interface {
	// Run follows the registry and keeps the last Publication published, until ctx
	// ends. It leaves the machine published.
	Run(ctx context.Context)
	// Fetch reads the registry once. It is an alternative to Run.
	Fetch(ctx context.Context) error
	// Snapshot returns what is known now. It does not wait. The caller owns the lists, and nobody changes the
	// affiliates in them. One that is as before is best the same in memory.
	Snapshot() Snapshot
	// Sessions returns the connections, without Registry. It does not wait. Changed is called
	// when one begins or ceases to fail, or fails otherwise.
	Sessions() []health.Session
	// Publish sets what Run keeps published. It does not wait.
	Publish(p Publication)
	// Announce publishes now, waits until the registry has accepted it, and keeps it
	// published. It returns ErrReadOnly where this machine cannot be published.
	Announce(ctx context.Context, local mesh.Affiliate) error
	// Leave removes this machine from the registry. A machine that is not there is no
	// error.
	Leave(ctx context.Context) error
	// NetworkChanged closes the connections and makes new ones: the old ones may lead nowhere.
	NetworkChanged()
	// Cache returns JSON for RegistryOptions.Cache of the next process; nil for nothing.
	Cache() ([]byte, error)
}

// Snapshot is what one registry knows.
type Snapshot struct {
	// Affiliates are the other machines, sorted by node ID, which is unique.
	Affiliates []*mesh.Affiliate
	// PresharedKeys are the keys of single peers, in place of the cluster secret.
	PresharedKeys map[mesh.Key]mesh.PrivateKey
	// Seen are this machine's addresses as others see them.
	Seen []netip.Addr
	// Node is what a Kubernetes cluster knows about this machine; without a name for nothing.
	Node mesh.Node
	// Refused has the reasons why affiliates are not used, by node ID.
	Refused map[string]string
	// Unreadable are the node IDs of those of Refused that the cluster secret does not open, sorted.
	Unreadable []string
	// Conditions are what is wrong, as far as the registry can see.
	Conditions []condition.Condition
	// Relays are the blind relays of the registry that this machine has joined.
	Relays []mesh.BlindRelay
	// Complete is set when the registry has answered since it was opened: a machine that
	// is not among Affiliates is not in the registry.
	Complete bool
}

// Publication is what a machine publishes.
type Publication struct {
	Local mesh.Affiliate
	// Harvested are endpoints of other machines that they do not list themselves, by
	// node ID. A registry without a place for them ignores them.
	Harvested map[string][]netip.AddrPort
	// JoinAs is the private key as whose owner this machine joins the relays of registries; zero to
	// join none. It is not published.
	JoinAs mesh.PrivateKey
}

// ProveFunc returns the proof that whoever asks to join a relay for a cluster at a time has the private
// key.
type ProveFunc func(private mesh.PrivateKey, relay mesh.Key, clusterID string, at time.Time) ([]byte, error)

// Driver opens one kind of registry.
type Driver struct {
	// Name is a word such as "service". It names the registry's cache and is the
	// attribute "registry" in logs.
	Name string
	// Settings returns the part of a config that the registry depends on, besides the
	// cluster's ID and secret; nil if the config does not ask for the registry. The
	// registry is reopened when it changes (reflect.DeepEqual).
	Settings func(config *schema.Config) any
	// Open makes the registry. It does not wait for the network.
	Open func(o RegistryOptions) (Registry, error)
}

// DialFunc makes a network connection.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// RegistryOptions are the inputs of a registry.
type RegistryOptions struct {
	// Config is the config to take the settings from.
	Config *schema.Config
	// NodeID is this machine's node ID. Snapshot leaves out its affiliate.
	NodeID string
	// UserAgent is the program and its version, such as "spanctl/1.2.3".
	UserAgent string
	// Dial makes connections whose packets have the firewall mark: they stay out of the
	// tunnels, so that discovery does not depend on the mesh. Nil uses net.Dialer.
	Dial DialFunc
	// Prove makes the proofs for relays; nil to join none.
	Prove ProveFunc
	// Cache is what Cache returned in the last process; nil for nothing.
	Cache []byte
	// Changed is called, from any goroutine, when Snapshot has changed. It may be nil.
	Changed func()
	Log     *slog.Logger
}

// CacheStore keeps the caches of registries between processes.
type CacheStore interface {
	// Load returns what was saved last for the registry and the cluster; nil for
	// nothing, or where it was saved for another cluster.
	Load(registry, clusterID string) ([]byte, error)
	Save(registry, clusterID string, data []byte) error
}

var (
	// ErrReadOnly is returned by Registry.Announce where nothing can be published.
	ErrReadOnly = errors.New("the registry is read-only")
	// ErrNoPublisher is returned by Discovery.Announce where the config asks for no
	// registry that machines are published in.
	ErrNoPublisher = errors.New("the config has no registry to publish this machine in: " +
		"enable cluster.discovery.registries.service or cluster.discovery.registries.kubernetes")
)
