package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/cmd/spanctl/internal/relayprocess"
	"github.com/spanmesh/span/netlinkapply"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/state"
	"github.com/spanmesh/span/schema"
)

// linkRemover takes down the mesh of a link.
type linkRemover interface {
	// DownLink removes the mesh of a link, whatever state directory it belongs to. If it is that of
	// the config in force, it does what Down does.
	DownLink(ctx context.Context, link string) (*reconciler.Pass, error)
}

// instance is what is known of a spanctl, to tell its meshes from those of others.
type instance struct {
	// stateDir is the absolute path of its state directory.
	stateDir string
	// key is its public key; zero if there is none.
	key mesh.Key
	// config is the scope of its config; nil without one that can be read.
	config *state.Scope
}

// isNamed reports whether the mesh is that of the config.
func (i instance) isNamed(m netlinkapply.Mesh) bool {
	return i.config != nil && i.config.LinkName == m.Scope.LinkName
}

// owns reports whether a mesh is the instance's by its marks: the state directory that is written on
// its link, or its key.
func (i instance) owns(m netlinkapply.Mesh) bool {
	return m.Owner == i.stateDir || !i.key.IsZero() && m.PublicKey == i.key
}

// former returns where else than in a scope the instance has routes and rules of its mesh. Those at
// the same places as in the scope are its own, whatever their mark.
func (instance) former(m netlinkapply.Mesh, of state.Scope) []state.Scope {
	return slices.DeleteFunc(append([]state.Scope{m.Scope}, m.Former...), func(s state.Scope) bool {
		return s.LinkName == of.LinkName && (!netlinkapply.HasRouting(s) ||
			s.RoutingTable == of.RoutingTable && (s.RulePriority == of.RulePriority || s.RulePriority == 0))
	})
}

// former finds what earlier configs of this state directory left under other ownership marks than
// those of a scope.
func (d *deps) former(of state.Scope) ([]state.Scope, error) {
	i := instance{stateDir: d.kernel.Owner, key: d.dir.PublicKey(), config: &of}
	found, err := d.kernel.Meshes()
	if err != nil {
		return nil, nil // reading the scope itself says what is wrong
	}
	var former []state.Scope
	for _, m := range found {
		if i.owns(m) || i.isNamed(m) && m.Owner == "" {
			former = append(former, i.former(m, of)...)
		}
	}
	return former, nil
}

// scopes returns what the instance has to take down of the meshes that were found, and the meshes of
// others. A mesh without an owner, of an earlier version, is that of an instance that knows nothing
// of itself, if it is the only mesh.
func (i instance) scopes(found []netlinkapply.Mesh) (own []state.Scope, others []netlinkapply.Mesh, err error) {
	if i.config != nil {
		own = append(own, *i.config)
	}
	unowned := 0
	for _, m := range found {
		switch {
		case i.isNamed(m):
			if i.owns(m) || m.Owner == "" {
				own = append(own, i.former(m, *i.config)...)
			}
		case i.owns(m):
			own = append(append(own, m.Scope), m.Former...)
		default:
			others = append(others, m)
			if m.Owner == "" {
				unowned++
			}
		}
	}
	if len(own) > 0 || !i.key.IsZero() || unowned == 0 {
		return own, others, nil
	}
	if len(found) == 1 {
		return []state.Scope{others[0].Scope}, nil, nil
	}
	return nil, nil, fmt.Errorf("this machine has several meshes, and neither a config nor the state directory says which to take down: name one with --link: %s", linksOf(found))
}

// of returns the scope of a link.
func (i instance) of(found []netlinkapply.Mesh, link string) ([]state.Scope, error) {
	if i.config != nil && i.config.LinkName == link {
		return []state.Scope{*i.config}, nil
	}
	at := slices.IndexFunc(found, func(m netlinkapply.Mesh) bool { return m.Scope.LinkName == link })
	if at >= 0 {
		return []state.Scope{found[at].Scope}, nil
	}
	there := "there is none"
	if len(found) > 0 {
		there = "there are " + linksOf(found)
	}
	return nil, &codedError{connect.CodeNotFound, fmt.Errorf("link %s is not that of a mesh of spanctl on this machine; %s", link, there)}
}

// linksOf lists the links of meshes.
func linksOf(found []netlinkapply.Mesh) string {
	var links []string
	for _, m := range found {
		links = append(links, m.Scope.LinkName)
	}
	return strings.Join(links, ", ")
}

// toRemove finds what to take down: the mesh of a link, or all of the instance's if link is empty.
func (d *deps) toRemove(config *state.Scope, link string) (own []state.Scope, others []netlinkapply.Mesh, err error) {
	i := instance{stateDir: d.kernel.Owner, key: d.dir.PublicKey(), config: config}
	found, err := d.kernel.Meshes()
	switch {
	case err != nil && config != nil && (link == "" || link == config.LinkName):
		return []state.Scope{*config}, nil, nil // reading that scope says what is wrong
	case err != nil:
		return nil, nil, fmt.Errorf("find the meshes of this machine: %w", err)
	case link != "":
		own, err = i.of(found, link)
		return own, nil, err
	default:
		return i.scopes(found)
	}
}

// warnLeft warns of meshes that others own, where there was nothing to take down.
func warnLeft(pass *reconciler.Pass, others []netlinkapply.Mesh) {
	if len(pass.Plan) > 0 {
		return
	}
	for _, m := range others {
		whose := "is not known to this state directory"
		if m.Owner != "" {
			whose = "belongs to the state directory " + m.Owner
		}
		pass.Warn(fmt.Errorf("link %s %s, and stays; `spanctl down --link %s` takes it down", m.Scope.LinkName, whose, m.Scope.LinkName))
	}
}

// warnNoConfig warns that discovery could not be left without a config.
func warnNoConfig(pass *reconciler.Pass, fault error) {
	if len(pass.Plan) > 0 || !errors.Is(fault, fs.ErrNotExist) && !errors.Is(fault, reconciler.ErrNoConfig) {
		pass.Warn(fmt.Errorf("discovery was not left, without a config to find it by: the other machines keep this one until it expires: %w", fault))
	}
}

func scopeOf(config *schema.Config) *state.Scope {
	if config == nil {
		return nil
	}
	scope := state.ScopeOf(config.KubeSpan())
	return &scope
}

// Down implements Runner.
func (o *oneShot) Down(ctx context.Context) (*reconciler.Pass, error) { return o.down(ctx, "") }

// DownLink implements linkRemover.
func (o *oneShot) DownLink(ctx context.Context, link string) (*reconciler.Pass, error) {
	return o.down(ctx, link)
}

func (o *oneShot) down(ctx context.Context, link string) (*reconciler.Pass, error) {
	config, fault := o.current(ctx)
	if fault != nil {
		config = nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return o.pass(ctx, func(d *deps) (*reconciler.Pass, error) {
		own, others, err := d.toRemove(scopeOf(config), link)
		if err != nil {
			return nil, err
		}
		var left error
		leaves := config != nil && (link == "" || link == config.KubeSpan().InterfaceName)
		if leaves {
			left = reconciler.LeaveDiscovery(ctx, d.newDiscovery(), config)
			d.releasePortMappings(ctx, config.KubeSpan().FirewallMark)
		}
		pass, err := d.engine.RemoveAll(ctx, time.Now(), own)
		if pass == nil {
			return nil, err
		}
		if leaves || link == "" {
			pass.Warn(d.endOthers(ctx))
		}
		pass.Warn(left)
		warnLeft(pass, others)
		if config == nil {
			warnNoConfig(pass, fault)
		}
		return pass, err
	})
}

// endOthers ends the processes that serve the mesh, and go on without an agent, and removes the names of
// its machines.
func (d *deps) endOthers(ctx context.Context) error {
	err := d.tunnels.End(ctx)
	if failure := relayprocess.End(ctx, d.dir.Relay()); failure != nil {
		err = errors.Join(err, fmt.Errorf("end the relay: %w", failure))
	}
	return errors.Join(err, d.hosts.remove())
}

// Down implements Runner. The loop has the processes ended as well, though it does not wait for that.
func (r loopRunner) Down(ctx context.Context) (*reconciler.Pass, error) {
	pass, err := r.loop.Down(ctx)
	if err != nil && !errors.Is(err, reconciler.ErrNoConfig) {
		return pass, err
	}
	fault, ended := err, r.endOthers(ctx)
	more, err := r.remove(ctx, "")
	if more == nil {
		return pass, err
	}
	if fault != nil {
		more.Warn(ended)
		warnNoConfig(more, fault)
		return more, err
	}
	more.Plan, more.Result.Done = append(pass.Plan, more.Plan...), append(pass.Result.Done, more.Result.Done...)
	more.Warnings = pass.Warnings
	more.Warn(ended)
	return more, more.Err()
}

// DownLink implements linkRemover.
func (r loopRunner) DownLink(ctx context.Context, link string) (*reconciler.Pass, error) {
	if r.loop.Scope().LinkName == link {
		pass, err := r.loop.Down(ctx)
		if pass != nil {
			pass.Warn(r.endOthers(ctx))
		}
		return pass, err
	}
	return r.remove(ctx, link)
}

// remove takes down what is not the loop's: the mesh of a link, or all others of the state directory
// if link is empty.
func (r loopRunner) remove(ctx context.Context, link string) (*reconciler.Pass, error) {
	var others []netlinkapply.Mesh
	pass, err := r.loop.Remove(ctx, func() (own []state.Scope, err error) {
		var config *state.Scope
		if scope := r.loop.Scope(); scope.LinkName != "" {
			config = &scope
		}
		own, others, err = r.toRemove(config, link)
		return slices.DeleteFunc(own, func(s state.Scope) bool { return config != nil && s == *config }), err
	})
	if pass != nil {
		warnLeft(pass, others)
	}
	return pass, err
}
