package resource

import (
	"cmp"
	"context"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/spanmesh/span/reconciler/latest"
)

// Resource is one thing that `spanctl get` shows.
type Resource struct {
	Type *Type
	ID   string
	// Version is 1 at first, and rises with every change of Spec.
	Version uint64
	// Created is when the resource appeared.
	Created time.Time
	// Updated is when Spec last changed.
	Updated time.Time
	// Spec is of the spec type of Type.
	Spec any
}

// Change is a change of one resource.
type Change struct {
	// Resource is the resource after the change, or before its deletion.
	Resource Resource
	// Deleted is set when the resource no longer exists.
	Deleted bool
}

// Store holds resources. The zero value is empty. It is safe for concurrent use.
type Store struct {
	mu       sync.Mutex
	types    map[*Type]map[string]entry
	watchers map[*Watcher]bool
}

// entry is what a Store has of a resource, by its type and ID: there may be thousands, and maps have room for more.
type entry struct {
	version uint64
	// created and updated are in nanoseconds since 1970.
	created, updated int64
	spec             any
}

// resource returns the resource that an entry is of.
func (e *entry) resource(t *Type, id string) Resource {
	return Resource{Type: t, ID: id, Version: e.version, Created: time.Unix(0, e.created), Updated: time.Unix(0, e.updated), Spec: e.spec}
}

// of returns the entries of a type by ID. s.mu is held.
func (s *Store) of(t *Type) map[string]entry {
	if s.types == nil {
		s.types = map[*Type]map[string]entry{}
	}
	if s.types[t] == nil {
		s.types[t] = map[string]entry{}
	}
	return s.types[t]
}

// Put adds a resource, or replaces its spec, which must not change afterwards. One with an equal
// spec keeps its version. Put returns the resource.
func (s *Store) Put(now time.Time, t *Type, id string, spec any) Resource {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.put(now, t, s.of(t), id, spec)
}

// put is Put with s.mu held.
func (s *Store) put(now time.Time, t *Type, known map[string]entry, id string, spec any) Resource {
	e, exists := known[id]
	switch {
	case !exists:
		e = entry{version: 1, created: now.UnixNano(), updated: now.UnixNano(), spec: spec}
	case equal(e.spec, spec):
		return e.resource(t, id)
	default:
		e.version, e.updated, e.spec = e.version+1, now.UnixNano(), spec
	}
	known[id] = e
	r := e.resource(t, id)
	s.publish(Change{Resource: r})
	return r
}

// Delete removes a resource, if there is one with the ID.
func (s *Store) Delete(t *Type, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.of(t)
	if e, exists := known[id]; exists {
		delete(known, id)
		s.publish(Change{Resource: e.resource(t, id), Deleted: true})
	}
}

// Replace replaces all resources of a type by specs, which are by ID. Resources with an
// equal spec keep their version. Specs must not change afterwards.
func (s *Store) Replace(now time.Time, t *Type, specs map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.of(t)
	for id, e := range known {
		if _, stays := specs[id]; !stays {
			delete(known, id)
			s.publish(Change{Resource: e.resource(t, id), Deleted: true})
		}
	}
	for id, spec := range specs {
		s.put(now, t, known, id, spec)
	}
}

// equal reports whether two specs are equal. Types with thousands of resources have an Equal
// method, since reflect.DeepEqual is slow.
func equal(a, b any) bool {
	if c, ok := a.(interface{ Equal(other any) bool }); ok {
		return c.Equal(b)
	}
	return reflect.DeepEqual(a, b)
}

// Get returns the resource with an ID, if there is one.
func (s *Store) Get(t *Type, id string) (r Resource, exists bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, exists := s.types[t][id]
	if exists {
		r = e.resource(t, id)
	}
	return r, exists
}

// List returns the resources of a type, sorted by ID.
func (s *Store) List(t *Type) []Resource {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.list(t)
}

func (s *Store) list(t *Type) []Resource {
	all := make([]Resource, 0, len(s.types[t]))
	for id, e := range s.types[t] {
		all = append(all, e.resource(t, id))
	}
	slices.SortFunc(all, func(a, b Resource) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// publish queues a change for the watchers of its type. s.mu is held.
func (s *Store) publish(c Change) {
	for w := range s.watchers {
		if w.of == c.Resource.Type {
			w.changes.Push(c.Resource.ID, c)
		}
	}
}

// Watch returns the resources of a type, sorted by ID, and a watcher of all changes after
// that. The watcher must be closed.
func (s *Store) Watch(t *Type) ([]Resource, *Watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &Watcher{of: t, store: s, changes: latest.New[string, Change]()}
	if s.watchers == nil {
		s.watchers = map[*Watcher]bool{}
	}
	s.watchers[w] = true
	return s.list(t), w
}

// Watcher receives the changes of one type. It is for one goroutine.
type Watcher struct {
	of      *Type
	store   *Store
	changes *latest.Queue[string, Change]
}

// Next waits for changes and returns all that are queued, or the context's error.
func (w *Watcher) Next(ctx context.Context) ([]Change, error) { return w.changes.Next(ctx) }

// Close ends the watch.
func (w *Watcher) Close() {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	delete(w.store.watchers, w)
}
