package agent

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/discoveryhttp"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/schema"
)

// Inspection reads the discovery service of a cluster without being a member: it publishes
// nothing and needs no state directory.
type Inspection struct {
	options reconciler.RegistryOptions
	client  *discoveryhttp.Client
	store   resource.Store
	// changes has an element when the client knows something else than the store.
	changes chan struct{}
}

// Inspect returns an Inspection of the cluster of a machine config, which has the keys.
func Inspect(config *schema.Config, log *slog.Logger) (*Inspection, error) {
	i := &Inspection{changes: make(chan struct{}, 1)}
	i.options = reconciler.RegistryOptions{
		Config:    config,
		UserAgent: userAgent(),
		Dial:      markedDialer(config.KubeSpan().FirewallMark),
		Changed: func() {
			select {
			case i.changes <- struct{}{}:
			default:
			}
		},
		Log: log,
	}
	var err error
	i.client, err = discoveryhttp.Open(i.options)
	return i, err
}

// Table returns the headings for the events of List and Watch.
func (*Inspection) Table() *agentpb.Table {
	return tableOf(resource.Affiliates)
}

// refresh stores what the service has.
func (i *Inspection) refresh() {
	specs := map[string]any{}
	for id, a := range affiliatesOf(i.client) {
		specs[id] = a
	}
	i.store.Replace(time.Now(), resource.Affiliates, specs)
}

// affiliatesOf returns what a client knows, by node ID.
func affiliatesOf(client *discoveryhttp.Client) map[string]resource.Affiliate {
	known := map[string]resource.Affiliate{}
	snapshot := client.Snapshot()
	for id, reason := range snapshot.Refused {
		known[id] = resource.Affiliate{Affiliate: &mesh.Affiliate{NodeID: id}, Refused: reason}
	}
	for _, a := range snapshot.Affiliates {
		known[a.NodeID] = resource.Affiliate{Affiliate: a}
	}
	return known
}

// Found is an affiliate that discovery has.
type Found struct {
	resource.Affiliate
	// Returns is set if the machine, when it is alive, publishes itself again within seconds
	// after it was removed.
	Returns bool
}

// Affiliates returns what the service has now, by node ID. It depends on nothing that was read
// before.
func (i *Inspection) Affiliates(ctx context.Context) (map[string]Found, error) {
	o := i.options
	o.Changed, o.Log = nil, slog.New(slog.DiscardHandler) // the first client has logged what there is to say
	client, err := discoveryhttp.Open(o)
	if err != nil {
		return nil, err
	}
	if err := client.Fetch(ctx); err != nil {
		return nil, err
	}
	found := map[string]Found{}
	for id, a := range affiliatesOf(client) {
		found[id] = Found{a, client.Numbers(id)}
	}
	return found, nil
}

// List returns the affiliates that the service has.
func (i *Inspection) List(ctx context.Context) ([]*agentpb.Resource, error) {
	if err := i.client.Fetch(ctx); err != nil {
		return nil, err
	}
	i.refresh()
	return i.shower().list(i.store.List(resource.Affiliates))
}

func (i *Inspection) shower() shower {
	return shower{now: time.Now(), names: resource.Names(resource.Affiliates, i.store.List(resource.Affiliates))}
}

// Watch calls show with the affiliates that the service has, and with every change, until
// ctx ends or show fails.
func (i *Inspection) Watch(ctx context.Context, show func([]*agentpb.Event) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { i.client.Run(ctx); return nil })
	group.Go(func() error {
		_, watcher := i.store.Watch(resource.Affiliates)
		defer watcher.Close()
		for {
			changes, err := watcher.Next(ctx)
			if err != nil {
				return nil // ctx ended, also where another function failed
			}
			events, err := i.shower().events(changes, "")
			if err != nil {
				return err
			}
			if err := show(events); err != nil {
				return err
			}
		}
	})
	group.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-i.changes:
				i.refresh()
			}
		}
	})
	return group.Wait()
}

// Remove removes an affiliate from the service. A running machine publishes itself again
// within seconds.
func (i *Inspection) Remove(ctx context.Context, id string) error { return i.client.Remove(ctx, id) }
