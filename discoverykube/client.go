package discoverykube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

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
	// Mark puts the firewall mark on the client's packets.
	Mark func(network, address string, c syscall.RawConn) error
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
	version atomic.Uint64
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
	c.version.Store(1)
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
	c.api = &api{access: a, client: &http.Client{Transport: a.transport(c.options.Mark)}}
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
	c.version.Add(1)
	if c.options.Changed != nil {
		c.options.Changed()
	}
}

// Version differs from that of any earlier knowledge of this client.
func (c *Client) Version() uint64 { return c.version.Load() }

// Affiliates are the other machines that are known now, by node ID. Of two Nodes with
// one node ID, the first by name has it.
func (c *Client) Affiliates() []mesh.Affiliate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.remembered.Affiliates) > 0 {
		return slices.Clone(c.remembered.Affiliates)
	}
	found := map[string]mesh.Affiliate{}
	for _, name := range slices.Sorted(maps.Keys(c.nodes)) {
		e := c.nodes[name]
		if _, taken := found[e.affiliate.NodeID]; e.refused == nil && !taken {
			found[e.affiliate.NodeID] = e.affiliate
		}
	}
	return slices.SortedFunc(maps.Values(found), func(a, b mesh.Affiliate) int { return cmp.Compare(a.NodeID, b.NodeID) })
}

// Refused tells, by node ID, why what Nodes say is not used.
func (c *Client) Refused() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	refused := map[string]string{}
	owners := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(c.nodes)) {
		e := c.nodes[name]
		owner, taken := owners[e.affiliate.NodeID]
		switch {
		case e.refused != nil:
			refused[e.affiliate.NodeID] = fmt.Sprintf("Node %s: %v", name, e.refused)
		case taken:
			refused[e.affiliate.NodeID+" (Node "+name+")"] = fmt.Sprintf("Node %s has this node ID, too: was a machine cloned with its state directory?", owner)
		default:
			owners[e.affiliate.NodeID] = name
		}
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

// Publish says what the annotations of this machine's Node are from now on. It does not
// wait.
func (c *Client) Publish(local mesh.Affiliate) {
	if c.options.OwnNode {
		return
	}
	c.mu.Lock()
	c.wanted = &local
	c.mu.Unlock()
	signal(c.kick)
}

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

func pauses() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval, b.Multiplier = pauseAtLeast, pauseAtMost, 2
	return b
}

// follow lists and watches until ctx ends.
func (c *Client) follow(ctx context.Context) {
	pause := pauses()
	version := ""
	for ctx.Err() == nil {
		began := time.Now()
		err := c.followOnce(ctx, &version)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > watchAtLeast {
			pause.Reset()
		}
		if statusOf(err) != 0 || errors.Is(err, errUnreadable) {
			// It may be another API server, or what is known not what it has.
			version = ""
		}
		if err == nil || isGone(err) {
			// Usually after minutes; but nothing says so.
			if time.Since(began) < calm {
				c.rest(ctx, calm)
			}
			continue
		}
		c.complain(notFollowed, err)
		if statusOf(err) == http.StatusUnauthorized {
			c.hangUp()
		}
		c.rest(ctx, pause.NextBackOff())
	}
}

// rest waits, but not when the network has changed.
func (c *Client) rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-c.again:
		c.hangUp()
	case <-time.After(d):
	}
}

// followOnce lists, where there is no version to go on from, and watches until that
// ends.
func (c *Client) followOnce(ctx context.Context, version *string) error {
	server, err := c.server()
	if err != nil {
		return err
	}
	if *version == "" {
		nodes, listed, err := server.list(ctx, c.only())
		if err != nil {
			c.refuse(err)
			return err
		}
		c.replace(nodes)
		*version = listed
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-c.again:
			c.hangUp()
			cancel()
		case <-stop:
		}
	}()
	last, err := server.watch(ctx, c.only(), *version, c.take)
	*version = last
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// refuse notes that the API server will not tell: waiting for it would keep what has
// left the mesh.
func (c *Client) refuse(err error) {
	if status := statusOf(err); status != http.StatusForbidden && status != http.StatusUnauthorized {
		return
	}
	c.mu.Lock()
	news := !c.heard
	c.heard = true
	c.mu.Unlock()
	if news {
		c.changed()
	}
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

// replace takes the Nodes of a list.
func (c *Client) replace(nodes []Node) {
	c.mu.Lock()
	c.nodes, c.own, c.heard, c.remembered = map[string]entry{}, nil, true, Remembered{}
	delete(c.why, notFollowed)
	for _, n := range nodes {
		c.put(n)
	}
	missing := c.own == nil
	c.mu.Unlock()
	if missing {
		c.complain(notPublished, &apiError{Status: http.StatusNotFound})
	}
	c.changed()
	signal(c.kick)
}

// take takes a change.
func (c *Client) take(n Node, deleted bool) {
	c.mu.Lock()
	before, own := c.nodes[n.Name], c.own
	if deleted {
		delete(c.nodes, n.Name)
		if n.Name == c.options.NodeName {
			c.own = nil
		}
	} else {
		c.put(n)
	}
	// Nodes change every few minutes, mostly without news for the mesh.
	news := !same(before, c.nodes[n.Name]) || n.Name == c.options.NodeName && !samePods(own, c.own)
	c.mu.Unlock()
	if news {
		c.changed()
	}
	if n.Name == c.options.NodeName {
		signal(c.kick)
	}
}

// put notes a Node. c.mu is held.
func (c *Client) put(n Node) {
	if n.Name == c.options.NodeName {
		c.own = &n
		return
	}
	a, found, err := Decode(n)
	if !found || a.NodeID == c.options.NodeID {
		delete(c.nodes, n.Name)
		return
	}
	c.nodes[n.Name] = entry{a, err}
}

func same(a, b entry) bool {
	x, y := Encode(a.affiliate), Encode(b.affiliate)
	return maps.Equal(x, y) && (a.refused == nil) == (b.refused == nil) && a.affiliate.MachineType == b.affiliate.MachineType &&
		a.affiliate.Hostname == b.affiliate.Hostname && a.affiliate.OperatingSystem == b.affiliate.OperatingSystem
}

func samePods(a, b *Node) bool {
	return a == b || a != nil && b != nil && slices.Equal(a.PodCIDRs, b.PodCIDRs) && a.isControlPlane() == b.isControlPlane()
}

// keep writes the annotations of this machine's Node whenever they are not what they
// should be, until ctx ends.
func (c *Client) keep(ctx context.Context) {
	pause := pauses()
	for ctx.Err() == nil {
		wait := time.Duration(-1)
		if local, due := c.due(); due {
			if err := c.apply(ctx, local); err != nil && ctx.Err() == nil {
				c.complain(notPublished, err)
				wait = pause.NextBackOff()
			} else {
				pause.Reset()
				wait = calm
			}
		}
		if wait < 0 {
			select {
			case <-ctx.Done():
			case <-c.kick:
			}
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// due is what is to be published, if the Node does not have it.
func (c *Client) due() (mesh.Affiliate, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wanted == nil || c.own == nil {
		return mesh.Affiliate{}, false
	}
	wanted := Encode(*c.wanted)
	tried := maps.Equal(c.asked, wanted) && maps.Equal(c.got, c.own.Annotations)
	return *c.wanted, !tried && !maps.Equal(c.own.Annotations, wanted)
}

// apply writes the annotations and notes the Node as it is then.
func (c *Client) apply(ctx context.Context, local mesh.Affiliate) error {
	c.mu.Lock()
	own := c.own
	c.mu.Unlock()
	if own == nil {
		return &apiError{Status: http.StatusNotFound}
	}
	wanted := Encode(local)
	server, err := c.server()
	if err != nil {
		return err
	}
	n, err := server.apply(ctx, own.Name, own.UID, wanted)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.own, c.asked, c.got = &n, wanted, n.Annotations
	return nil
}

// Fetch reads the Nodes once.
func (c *Client) Fetch(ctx context.Context) error {
	server, err := c.server()
	if err != nil {
		return err
	}
	nodes, _, err := server.list(ctx, c.only())
	if err != nil {
		return fmt.Errorf("list the Nodes of the cluster: %w", c.explain(err))
	}
	c.replace(nodes)
	return nil
}

// Push publishes once.
func (c *Client) Push(ctx context.Context, local mesh.Affiliate) error {
	if c.options.OwnNode {
		return nil
	}
	if err := c.ensureOwn(ctx); err != nil {
		return err
	}
	if err := c.apply(ctx, local); err != nil {
		return fmt.Errorf("publish this machine on its Node: %w", c.explain(err))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wanted = &local
	return nil
}

func (c *Client) ensureOwn(ctx context.Context) error {
	c.mu.Lock()
	known := c.own != nil
	c.mu.Unlock()
	if known {
		return nil
	}
	return c.Fetch(ctx)
}

// Leave takes the annotations off this machine's Node. That there is none is no error.
func (c *Client) Leave(ctx context.Context) error {
	if c.options.OwnNode {
		return nil
	}
	if err := c.ensureOwn(ctx); err != nil {
		return err
	}
	err := c.apply(ctx, mesh.Affiliate{})
	if statusOf(err) == http.StatusNotFound {
		return nil
	}
	if err != nil {
		return fmt.Errorf("take this machine off its Node: %w", c.explain(err))
	}
	return nil
}
