package discoverykube

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/pager"

	"github.com/spanmesh/span/reconciler/condition"
)

// listBackoff has the reflector's pauses between two lists of the Nodes: 0.5 to 30 seconds.
var listBackoff = wait.Backoff{Duration: firstPause, Factor: 2, Jitter: 0.5, Steps: 10, Cap: longestPause}

// follow keeps what is known of the Nodes up to date until ctx ends.
func (c *client) follow(ctx context.Context) {
	reflector := cache.NewReflectorWithOptions(&nodeSource{client: c}, &corev1.Node{}, nodeStore{c}, cache.ReflectorOptions{Name: "nodes", Backoff: &listBackoff})
	for ctx.Err() == nil {
		connected, disconnect := context.WithCancel(ctx)
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			reflector.RunWithContext(connected)
		}()
		select {
		case <-ctx.Done():
		case <-c.connectionsStale:
		}
		disconnect()
		<-stopped
		c.disconnect()
	}
}

// nodeSource lists and watches Nodes for a reflector.
type nodeSource struct {
	client *client
	// listed is the connection of the last list.
	listed atomic.Pointer[connection]
}

// errListAgain is returned to the reflector. It is logged at debug level only.
var errListAgain = errors.New("the connection is new: its API server may have other Nodes")

func (s *nodeSource) ListWithContext(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	connection, err := s.client.connection()
	var nodes *corev1.NodeList
	if err == nil {
		nodes, err = s.client.list(ctx, connection, options)
	}
	if err != nil {
		s.client.unreachable(ctx, listNodes, err)
		return nil, err
	}
	s.listed.Store(connection)
	return nodes, nil
}

func (s *nodeSource) WatchWithContext(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	connection, err := s.client.connection()
	if err == nil && connection != s.listed.Load() {
		return nil, errListAgain
	}
	var events watch.Interface
	if err == nil {
		s.client.selectNodes(&options)
		events, err = connection.watch(ctx, options)
		s.client.disconnectAfter(err)
	}
	if err != nil {
		s.client.unreachable(ctx, watchNodes, err)
		return nil, err
	}
	s.client.clearFault(unreachable)
	return events, nil
}

// List is ListWithContext. A reflector does not call it.
func (s *nodeSource) List(options metav1.ListOptions) (runtime.Object, error) {
	return s.ListWithContext(context.Background(), options)
}

// Watch is WatchWithContext. A reflector does not call it.
func (s *nodeSource) Watch(options metav1.ListOptions) (watch.Interface, error) {
	return s.WatchWithContext(context.Background(), options)
}

// IsWatchListSemanticsUnSupported has the reflector list before it watches. Its streamed
// lists do not end with their context while the API server refuses connections.
func (s *nodeSource) IsWatchListSemanticsUnSupported() bool { return true }

// nodeStore hands what a reflector reads to the client.
type nodeStore struct{ client *client }

func (s nodeStore) Add(object any) error { return s.Update(object) }

func (s nodeStore) Update(object any) error {
	if n, is := object.(*corev1.Node); is {
		s.client.update(newNode(n), false)
	}
	return nil
}

func (s nodeStore) Delete(object any) error {
	if n, is := object.(*corev1.Node); is {
		s.client.update(newNode(n), true)
	}
	return nil
}

func (s nodeStore) Replace(objects []any, _ string) error {
	nodes := make([]node, 0, len(objects))
	for _, object := range objects {
		if n, is := object.(*corev1.Node); is {
			nodes = append(nodes, newNode(n))
		}
	}
	s.client.replace(nodes)
	return nil
}

func (s nodeStore) Resync() error { return nil }

// selectNodes restricts options to the Nodes that are followed.
func (c *client) selectNodes(options *metav1.ListOptions) {
	if c.readOnly {
		options.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, c.nodeName).String()
	}
}

// list returns a page of the Nodes.
func (c *client) list(ctx context.Context, connection *connection, options metav1.ListOptions) (*corev1.NodeList, error) {
	c.selectNodes(&options)
	nodes, err := connection.list(ctx, options)
	c.disconnectAfter(err)
	return nodes, err
}

// unreachable notes that the Nodes cannot be listed or watched.
func (c *client) unreachable(ctx context.Context, request string, err error) {
	if ctx.Err() != nil || isStale(err) {
		return
	}
	c.setFault(unreachable, request, err)
	if !apierrors.IsForbidden(err) && !apierrors.IsUnauthorized(err) {
		return
	}
	// Waiting for an API server that refuses would keep what has left the mesh.
	c.mu.Lock()
	isNew := !c.answered
	c.answered = true
	c.mu.Unlock()
	if isNew {
		c.notifyChanged()
	}
}

// Fetch implements reconciler.Registry.
func (c *client) Fetch(ctx context.Context) error {
	var nodes []node
	pages := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		connection, err := c.connection()
		if err != nil {
			return nil, err
		}
		return c.list(ctx, connection, options)
	})
	err := pages.EachListItem(ctx, metav1.ListOptions{}, func(object runtime.Object) error {
		if n, is := object.(*corev1.Node); is {
			nodes = append(nodes, newNode(n))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list the Nodes of the cluster: %w", c.explain(err))
	}
	c.replace(nodes)
	return nil
}

// replace takes the Nodes of a complete list.
func (c *client) replace(nodes []node) {
	c.mu.Lock()
	before := c.own
	c.nodes, c.clones, c.own, c.answered, c.remembered = map[string]entry{}, map[string]condition.Condition{}, nil, true, cacheContent{}
	for _, n := range nodes {
		if n.name == c.nodeName && before.isNewerThan(n) {
			n = *before
		}
		c.put(n)
	}
	missing := c.own == nil
	c.mu.Unlock()
	if missing {
		c.setFault(nodeNotFound, patchNode, errNoNode)
	} else {
		c.clearFault(nodeNotFound)
	}
	c.notifyChanged()
	notify(c.ownOutdated)
}

// update takes a change of a Node.
func (c *client) update(n node, deleted bool) {
	c.mu.Lock()
	before, ownBefore, cloneBefore := c.nodes[n.name], c.own, c.clones[n.name]
	switch {
	case !deleted:
		c.put(n)
	case n.name == c.nodeName:
		c.own = nil
	default:
		delete(c.nodes, n.name)
		delete(c.clones, n.name)
	}
	isOwn := n.name == c.nodeName
	// A kubelet changes its Node every few minutes, mostly in what the mesh does not use.
	changed := !before.equal(c.nodes[n.name]) || c.clones[n.name] != cloneBefore || isOwn && !samePods(ownBefore, c.own)
	c.mu.Unlock()
	if changed {
		c.notifyChanged()
	}
	if isOwn {
		if !deleted {
			c.clearFault(nodeNotFound)
		}
		notify(c.ownOutdated)
	}
}

// put notes a Node. The caller holds c.mu.
func (c *client) put(n node) {
	if n.name == c.nodeName {
		if !c.own.isNewerThan(n) { // than what an answer to a write had
			c.own = &n
		}
		return
	}
	delete(c.clones, n.name)
	if clone := c.cloneOf(n); clone != (condition.Condition{}) {
		c.clones[n.name] = clone
	}
	a, found, err := decode(n)
	if !found || a.NodeID == c.nodeID {
		delete(c.nodes, n.name)
		return
	}
	c.nodes[n.name] = entry{&a, err}
}

func (e entry) equal(other entry) bool {
	a, b := e.affiliate, other.affiliate
	if a == nil || b == nil {
		return a == b
	}
	return maps.Equal(encode(*a), encode(*b)) && (e.refused == nil) == (other.refused == nil) && a.MachineType == b.MachineType &&
		a.Hostname == b.Hostname && a.OperatingSystem == b.OperatingSystem
}

// samePods reports whether two states of a Node are the same in what client.node returns.
func samePods(a, b *node) bool {
	return a == b || a != nil && b != nil && slices.Equal(a.podCIDRs, b.podCIDRs) && a.isControlPlane() == b.isControlPlane()
}
