package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/spanmesh/span/cmd/spanctl/internal/statedir"
	"github.com/spanmesh/span/discoveryhttp"
	"github.com/spanmesh/span/discoverykube"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/schema"
)

// registries are the machine's clients of all that its config says is to be asked.
type registries struct {
	// service asks discovery services, none where they are disabled.
	service *discoveryhttp.Client
	// nodes asks a Kubernetes API server; nil where none is to be asked.
	nodes *discoverykube.Client
	// config says which of them have what others should know.
	config schema.Registries
}

// nodeNameVariable has the name of the Node in a pod, whose host name is its own.
const nodeNameVariable = "NODE_NAME"

// registries makes the clients that config asks for, which begin with what was known
// before.
func (p *parts) registries(config *schema.Config, changed func()) (*registries, error) {
	nodeID, err := p.dir.NodeID()
	if err != nil {
		return nil, fmt.Errorf("establish the machine's identity: %w", err)
	}
	options, err := discoveryOptions(config, p.log)
	if err != nil {
		return nil, err
	}
	remembered, err := p.dir.Remembered(config.Cluster.ID)
	if err != nil {
		p.log.Warn("what discovery knew before cannot be read; beginning anew", "error", err)
	}
	options.NodeID, options.Remembered, options.Changed = nodeID, remembered.Affiliates, changed
	r := &registries{config: config.Cluster.Discovery.Registries}
	if r.service, err = discoveryhttp.NewClient(options); err != nil {
		return nil, err
	}
	if !config.AsksKubernetes() {
		return r, nil
	}
	kubernetes := r.config.Kubernetes
	name, err := nodeName(kubernetes)
	if err != nil {
		return nil, err
	}
	r.nodes = discoverykube.NewClient(discoverykube.Options{
		Kubeconfig: kubernetes.Kubeconfig, NodeName: name, NodeID: nodeID, OwnNode: kubernetes.Disabled,
		Mark: discoveryhttp.Mark(config.KubeSpan().FirewallMark), Remembered: remembered.Nodes, Changed: changed, Log: p.log,
	})
	return r, nil
}

// nodeName is that of the machine's Node, as a kubelet finds it.
func nodeName(k schema.KubernetesRegistry) (string, error) {
	if name := cmp.Or(k.NodeName, os.Getenv(nodeNameVariable)); name != "" {
		return name, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("find the name of the Node: %w", err)
	}
	return strings.ToLower(strings.TrimSpace(host)), nil
}

// known is what all of them know. Nodes come first: what a discovery service has of a
// machine is newer, and more.
func (r *registries) known() reconciler.Knowledge {
	// The versions are read first: news that come meanwhile are told of again.
	k := reconciler.Knowledge{Version: r.version(), Seen: r.service.Seen(), Refused: r.service.Refused(), Complete: r.service.Complete()}
	if r.nodes == nil {
		k.Affiliates = r.service.Affiliates()
		return k
	}
	k.Affiliates = mesh.Merge(r.nodes.Affiliates(), r.service.Affiliates())
	maps.Copy(k.Refused, r.nodes.Refused())
	k.Complete = k.Complete && r.nodes.Complete()
	k.Node = r.nodes.Node()
	k.Node.APIServerPort = r.config.Kubernetes.APIServerPort
	return k
}

// version differs from that of any earlier knowledge.
func (r *registries) version() uint64 {
	version := r.service.Version()
	if r.nodes != nil {
		version += r.nodes.Version() // neither ever gets less
	}
	return version
}

// remembered is what the next ones should begin with.
func (r *registries) remembered() statedir.Known {
	k := statedir.Known{Affiliates: r.service.Remember()}
	if r.nodes != nil {
		k.Nodes = r.nodes.Remember()
	}
	return k
}

func (r *registries) reconnect() {
	r.service.Reconnect()
	if r.nodes != nil {
		r.nodes.Reconnect()
	}
}

func (r *registries) publish(local mesh.Affiliate, harvested map[string][]netip.AddrPort) {
	r.service.Publish(local, harvested)
	if r.nodes != nil {
		r.nodes.Publish(local)
	}
}

// announce publishes now, and waits until one of them has taken it.
func (r *registries) announce(ctx context.Context, local mesh.Affiliate) error {
	var failures []error
	if !r.config.Kubernetes.Disabled {
		failures = append(failures, r.nodes.Push(ctx, local))
	}
	if !r.config.Service.Disabled {
		failures = append(failures, r.service.Announce(ctx, local))
	}
	if slices.Contains(failures, nil) {
		return nil
	}
	return errors.Join(failures...)
}

// fetch reads once what they know. It fails where one does, and the others have been
// asked all the same.
func (r *registries) fetch(ctx context.Context) error {
	err := r.service.Fetch(ctx)
	if r.nodes != nil {
		err = errors.Join(err, r.nodes.Fetch(ctx))
	}
	return err
}

// push publishes once.
func (r *registries) push(ctx context.Context, local mesh.Affiliate) error {
	err := r.service.Push(ctx, local)
	if r.nodes != nil {
		err = errors.Join(err, r.nodes.Push(ctx, local))
	}
	return err
}

// leave takes the machine away from all of them.
func (r *registries) leave(ctx context.Context) error {
	err := r.service.Leave(ctx)
	if r.nodes != nil {
		err = errors.Join(err, r.nodes.Leave(ctx))
	}
	return err
}
