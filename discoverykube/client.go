package discoverykube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/failure"
	"github.com/spanmesh/span/reconciler/mesh"
)

// options are the settings of a client.
type options struct {
	// kubeconfig is the path of a kubeconfig. If it is empty, the pod's service account is
	// used.
	kubeconfig string
	// nodeName is the name of this machine's Node.
	nodeName string
	// nodeID identifies this machine, whose affiliate is not among the others.
	nodeID string
	// apiServerPort is the port of the API server on this machine; zero if it has none.
	apiServerPort int
	// readOnly restricts the client to this machine's Node, for its pods' networks.
	// Nothing is published.
	readOnly bool
	// userAgent is what the API server sees of the program.
	userAgent string
	// dial makes connections with the firewall mark; nil for connections without.
	dial reconciler.DialFunc
	// changed is called, from any goroutine, when the client's snapshot has changed.
	changed func()
	log     *slog.Logger
}

// client is a machine's client of the registry.
type client struct {
	options
	// abandoned counts requests that a credential plugin keeps waiting.
	abandoned atomic.Int32
	// ownOutdated is signalled when the annotations of the own Node may be outdated.
	ownOutdated chan struct{}
	// connectionsStale is signalled when connections may be dead.
	connectionsStale chan struct{}

	mu sync.Mutex
	// url is the address of the API server that was used last; "" before the first.
	url string
	// current is nil until it is needed, and after disconnect.
	current *connection
	// answered is set when the Nodes were listed, or the API server refused to list them.
	answered bool
	// remembered is what the last process knew. It is used until the Nodes are listed.
	remembered cacheContent
	// nodes are the other Nodes in the mesh, by name.
	nodes map[string]entry
	// clones are the conditions of other Nodes with this machine's node ID, by name.
	clones map[string]condition.Condition
	// rival is another agent that writes the own Node; the zero value for none.
	rival rival
	// own is this machine's Node; nil if it is unknown or does not exist.
	own *node
	// wanted is what Publish was called with last.
	wanted *mesh.Affiliate
	// applied are the annotations that were applied last.
	applied map[string]string
	// applyResult are the annotations that the Node had after that. They differ from
	// applied if another field manager insists on its own: those are left alone.
	applyResult map[string]string
	// faults are what fails, by what.
	faults map[fault]trouble
	// began is when the client was made, and connectedSince when the API server has first
	// answered after the last failure; zero before, and while it fails.
	began, connectedSince time.Time
	// heard is when the API server has last answered with success; zero for never.
	heard time.Time
	// failures has the number of failures by class.
	failures map[failure.Class]uint64
	// clock is that of the API server.
	clock *clock
}

// entry is the affiliate of a Node; nil for a Node without one.
type entry struct {
	affiliate *mesh.Affiliate
	// refused is why the affiliate is not used; nil if it is.
	refused error
}

// fault is something that can fail for a while. It is logged once, until its error changes.
type fault int

const (
	unreachable fault = iota
	notPublished
	nodeNotFound
)

// warn logs that the fault occurred.
func (f fault) warn(log *slog.Logger, err error) {
	switch f {
	case unreachable:
		log.Warn("kubernetes registry unreachable", "error", err)
	case notPublished:
		log.Warn("kubernetes node not published", "error", err)
	case nodeNotFound:
		log.Warn("kubernetes node not found", "error", err)
	}
}

// recovered logs that the fault has gone.
func (f fault) recovered(log *slog.Logger) {
	switch f {
	case unreachable:
		log.Info("kubernetes registry reachable")
	case notPublished:
		log.Info("kubernetes node published")
	case nodeNotFound:
		log.Info("kubernetes node found")
	}
}

var errNoNode = errors.New("not found")

func newClient(o options, remembered cacheContent) *client {
	routeKlog(o.log)
	return &client{
		options:          o,
		ownOutdated:      make(chan struct{}, 1),
		connectionsStale: make(chan struct{}, 1),
		remembered:       remembered,
		nodes:            map[string]entry{},
		clones:           map[string]condition.Condition{},
		faults:           map[fault]trouble{},
		failures:         map[failure.Class]uint64{},
		clock:            &clock{},
		began:            time.Now(),
	}
}

// connection returns the client of the API server. The kubeconfig is read for the first
// request, and again after disconnect: a machine may join a cluster, or get other
// credentials, while spanctl runs.
func (c *client) connection() (*connection, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current != nil {
		return c.current, nil
	}
	current, err := connect(c.options, &c.abandoned, c.clock)
	if err != nil {
		return nil, err
	}
	c.current, c.url = current, current.url
	return current, nil
}

// disconnectAfter disconnects if that may help the next request.
func (c *client) disconnectAfter(err error) {
	if needsNewConnection(err) {
		c.disconnect()
	}
}

// disconnect closes the connections. The next request reads the kubeconfig again.
func (c *client) disconnect() {
	c.mu.Lock()
	current := c.current
	c.current = nil
	c.mu.Unlock()
	if current != nil {
		current.close()
	}
}

func notify(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

func (c *client) notifyChanged() {
	if c.changed != nil {
		c.changed()
	}
}

// NetworkChanged implements reconciler.Registry.
func (c *client) NetworkChanged() { notify(c.connectionsStale) }

// Run implements reconciler.Registry.
func (c *client) Run(ctx context.Context) {
	group := new(errgroup.Group)
	group.Go(func() error { c.follow(ctx); return nil })
	group.Go(func() error { c.keepPublished(ctx); return nil })
	_ = group.Wait() // neither returns an error
	c.disconnect()
}

// setFault notes that a request fails, and logs it unless it failed the same way before.
func (c *client) setFault(f fault, request string, err error) {
	what := failureOf(time.Now(), request, err)
	err = c.explain(err)
	c.mu.Lock()
	before, fails := c.faults[f]
	is := trouble{since: time.Now(), text: err.Error(), failure: what}
	if fails {
		is.since = before.since
	}
	c.faults[f] = is
	c.failures[what.Class]++
	if f == unreachable {
		c.connectedSince = time.Time{}
	}
	c.mu.Unlock()
	if before.text != is.text {
		f.warn(c.log, err)
	}
	if before.failure.Class != what.Class {
		c.notifyChanged()
	}
}

// clearFault notes that a request has succeeded.
func (c *client) clearFault(f fault) {
	c.mu.Lock()
	_, had := c.faults[f]
	delete(c.faults, f)
	c.heard = time.Now()
	first := f == unreachable && c.connectedSince.IsZero()
	if first {
		c.connectedSince = c.heard
	}
	c.mu.Unlock()
	if had {
		f.recovered(c.log)
	}
	if had || first {
		c.notifyChanged()
	}
}

// explain returns err with what can be done about it. The URL of a request is left out: it
// differs from one request to the next.
func (c *client) explain(err error) error {
	if request, is := errors.AsType[*url.Error](err); is {
		err = request.Err
		if u, parseErr := url.Parse(request.URL); parseErr == nil {
			err = fmt.Errorf("API server %s: %w", u.Host, err)
		}
	}
	switch {
	case errors.Is(err, errNoNode) || apierrors.IsNotFound(err):
		return fmt.Errorf("there is no Node %q yet: wait for its kubelet, or set cluster.discovery.registries.kubernetes.nodeName: %w", c.nodeName, err)
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("the API server does not accept the credentials of %s: %w", cmp.Or(c.kubeconfig, "the pod's service account"), err)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w: spanctl needs get, list, watch and patch of nodes, which the credentials of a kubelet do not have since Kubernetes 1.32; "+
			"give it a service account of its own (deploy/kubernetes/rbac.yaml, docs/kubernetes.md)", err)
	case strings.Contains(err.Error(), "\n"):
		return firstLine{err}
	default:
		return err
	}
}

// firstLine is an error without the advice on credential plugins in general that client-go
// adds.
type firstLine struct{ error }

func (e firstLine) Error() string {
	line, _, _ := strings.Cut(e.error.Error(), "\n")
	return strings.TrimSpace(line)
}

func (e firstLine) Unwrap() error { return e.error }
