package discoverykube

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/mesh"
)

// Options are what a client needs to know.
type Options struct {
	// Kubeconfig says how the API server is reached; empty, the pod's service account
	// does.
	Kubeconfig string
	// NodeName is that of this machine's Node.
	NodeName string
	// NodeID is this machine's, whose affiliate is not among the others.
	NodeID string
	// OwnNode has only this machine's Node followed, for its pods' networks: nothing is
	// published.
	OwnNode bool
	// Dial makes connections with the firewall mark; nil for connections without.
	Dial reconciler.DialFunc
	// Remembered is what was known before.
	Remembered Remembered
	// Changed is called, from any goroutine, when what is known has changed.
	Changed func()
	Log     *slog.Logger
}

// Remembered is what a client knew.
type Remembered struct {
	Affiliates []mesh.Affiliate `json:"affiliates"`
	Node       mesh.Node        `json:"node"`
}

// Client is a seat among the Nodes of a Kubernetes cluster.
type Client struct {
	options Options
	log     *slog.Logger
	// kick has the annotations looked at again, again the watch begun anew.
	kick  chan struct{}
	again chan struct{}

	mu sync.Mutex
	// api is nil until what says how it is reached was read.
	api *api
	// heard tells that the Nodes were listed, or that the API server refuses to.
	heard bool
	// remembered are from before, and go when the Nodes are listed.
	remembered Remembered
	nodes      map[string]entry
	own        *Node
	wanted     *mesh.Affiliate
	// asked and got are the annotations that were applied last, and what came of it:
	// what others put there stays.
	asked, got map[string]string
	// why is what went wrong last, by what did.
	why map[string]string
}

// entry is what a Node says.
type entry struct {
	affiliate mesh.Affiliate
	refused   error
}

const notFollowed = "the Nodes of the cluster are not followed; going by what was known before"

const notPublished = "this machine is not published on its Node"

// calm is the least time between two writes of the own Node: somebody may fight.
const calm = time.Second

// The pauses after a failure double from the first to the last.
const (
	pauseAtLeast = 500 * time.Millisecond
	pauseAtMost  = 30 * time.Second
)

// NewClient makes a client. It does nothing until Run, Fetch or Push is called.
func NewClient(o Options) *Client {
	c := &Client{
		options:    o,
		log:        o.Log,
		kick:       make(chan struct{}, 1),
		again:      make(chan struct{}, 1),
		remembered: o.Remembered,
		nodes:      map[string]entry{},
		why:        map[string]string{},
	}
	return c
}

// server is the API server. What says how it is reached is read when it is needed, and
// again after hangUp, as when the API server did not know who is asking: a machine may
// join a cluster while spanctl runs on it, and get other credentials.
func (c *Client) server() (*api, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.api != nil {
		return c.api, nil
	}
	var a *access
	var err error
	if c.options.Kubeconfig != "" {
		a, err = readKubeconfig(c.options.Kubeconfig)
	} else {
		a, err = inCluster(serviceAccountDir)
	}
	if err != nil {
		return nil, err
	}
	c.api = &api{access: a, client: &http.Client{Transport: a.transport(c.options.Dial)}}
	return c.api, nil
}

// hangUp closes the connections: the next request makes others, with credentials that are
// read again.
func (c *Client) hangUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.api != nil {
		c.api.client.CloseIdleConnections()
		c.api = nil
	}
}

// only is the name of the only Node that is followed, or "".
func (c *Client) only() string {
	if c.options.OwnNode {
		return c.options.NodeName
	}
	return ""
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

func (c *Client) changed() {
	if c.options.Changed != nil {
		c.options.Changed()
	}
}

// Affiliates are the other machines that are known now, by node ID. Of two Nodes with
// one node ID, the first by name has it.
func (c *Client) Affiliates() []mesh.Affiliate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.remembered.Affiliates) > 0 {
		return slices.Clone(c.remembered.Affiliates)
	}
	owners := c.owners()
	affiliates := make([]mesh.Affiliate, 0, len(owners))
	for _, id := range slices.Sorted(maps.Keys(owners)) {
		affiliates = append(affiliates, c.nodes[owners[id]].affiliate)
	}
	return affiliates
}

// owners are the names of the Nodes that are used, by node ID. c.mu is held.
func (c *Client) owners() map[string]string {
	owners := make(map[string]string, len(c.nodes))
	for name, e := range c.nodes {
		if other, taken := owners[e.affiliate.NodeID]; e.refused == nil && (!taken || name < other) {
			owners[e.affiliate.NodeID] = name
		}
	}
	return owners
}

// Refused tells, by node ID, why what Nodes say is not used; by node ID and name where
// another Node has the ID.
func (c *Client) Refused() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	refused, owners := map[string]string{}, c.owners()
	for name, e := range c.nodes {
		id := e.affiliate.NodeID
		owner, owned := owners[id]
		if owner == name {
			continue
		}
		why := fmt.Sprintf("Node %s has this node ID, too: was a machine cloned with its state directory?", owner)
		if e.refused != nil {
			why = fmt.Sprintf("Node %s: %v", name, e.refused)
		}
		if owned {
			id += " (Node " + name + ")"
		}
		refused[id] = why
	}
	return refused
}

// Complete tells whether the Nodes were listed, or will not be: who is not among
// Affiliates is not in the cluster.
func (c *Client) Complete() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.heard || c.options.OwnNode
}

// Node is what the cluster says of this machine. Its name is known before the cluster
// was heard.
func (c *Client) Node() mesh.Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.remembered.Node
	n.Name = c.options.NodeName
	if c.own != nil {
		n.PodNetworks, n.ControlPlane = slices.Clone(c.own.PodCIDRs), c.own.isControlPlane()
	}
	return n
}

// Remember is what the next client of this machine should begin with.
func (c *Client) Remember() Remembered { return Remembered{Affiliates: c.Affiliates(), Node: c.Node()} }

// Reconnect makes the connections anew, as is needed when the machine's network has
// changed.
func (c *Client) Reconnect() { signal(c.again) }

// Run keeps publishing and watching until ctx ends. It leaves the annotations; Leave
// takes them away.
func (c *Client) Run(ctx context.Context) {
	group := new(errgroup.Group)
	group.Go(func() error { c.follow(ctx); return nil })
	group.Go(func() error { c.keep(ctx); return nil })
	_ = group.Wait() // neither returns an error
	c.hangUp()
}

// complain logs a failure, once for as long as it is the same.
func (c *Client) complain(what string, err error) {
	text := c.explain(err).Error()
	c.mu.Lock()
	said := c.why[what] == text
	c.why[what] = text
	c.mu.Unlock()
	if !said {
		c.log.Warn(what, "error", c.explain(err))
	}
}

// explain says what can be done about a failure.
func (c *Client) explain(err error) error {
	switch statusOf(err) {
	case http.StatusUnauthorized:
		return fmt.Errorf("the API server does not know who is asking by %s: %w", cmp.Or(c.options.Kubeconfig, "the pod's service account"), err)
	case http.StatusForbidden:
		return fmt.Errorf("%w. spanctl needs get, list, watch and patch of nodes, which the credentials of a kubelet do not have since Kubernetes 1.32: "+
			"give it a service account of its own (deploy/kubernetes/rbac.yaml, docs/kubernetes.md)", err)
	case http.StatusNotFound:
		return fmt.Errorf("there is no Node %q yet (cluster.discovery.registries.kubernetes.nodeName): %w", c.options.NodeName, err)
	default:
		return err
	}
}
