package resource_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler/resource"
)

var (
	first  = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	second = first.Add(time.Minute)
)

func member(hostname string) any { return resource.Member{Hostname: hostname} }

func ids(list []resource.Resource) (out []string) {
	for _, r := range list {
		out = append(out, fmt.Sprintf("%s v%d", r.ID, r.Version))
	}
	return out
}

func TestReplaceRaisesTheVersionOfChangedResourcesOnly(t *testing.T) {
	var s resource.Store
	s.Replace(first, resource.Members, map[string]any{"b": member("b"), "a": member("a"), "c": member("c")})
	s.Replace(second, resource.Members, map[string]any{"a": member("a"), "b": member("new"), "d": member("d")})
	list := s.List(resource.Members)
	if got := ids(list); !slices.Equal(got, []string{"a v1", "b v2", "d v1"}) {
		t.Errorf("got %v", got)
	}
	if b := list[1]; !b.Created.Equal(first) || !b.Updated.Equal(second) {
		t.Errorf("times of b: %v, %v", b.Created, b.Updated)
	}
	if a := list[0]; !a.Updated.Equal(first) {
		t.Errorf("a was not changed, but updated at %v", a.Updated)
	}
	if len(s.List(resource.Affiliates)) != 0 {
		t.Error("another type has resources")
	}
}

func TestWatchReturnsChangesOfItsType(t *testing.T) {
	var s resource.Store
	s.Replace(first, resource.Members, map[string]any{"a": member("a"), "b": member("b")})
	there, w := s.Watch(resource.Members)
	defer w.Close()
	if got := ids(there); !slices.Equal(got, []string{"a v1", "b v1"}) {
		t.Errorf("there are %v at first", got)
	}
	s.Replace(second, resource.Affiliates, map[string]any{"x": member("x")})
	s.Replace(second, resource.Members, map[string]any{"a": member("a"), "b": member("b")})
	s.Replace(second, resource.Members, map[string]any{"b": member("new")})
	changes, err := w.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range changes {
		got = append(got, fmt.Sprintf("%s v%d %v", e.Resource.ID, e.Resource.Version, e.Deleted))
	}
	slices.Sort(got)
	if want := []string{"a v1 true", "b v2 false"}; !slices.Equal(got, want) {
		t.Errorf("changes are %v, want %v", got, want)
	}

	t.Run("a closed watcher gets nothing", func(t *testing.T) {
		w.Close()
		s.Replace(second, resource.Members, nil)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if changes, err := w.Next(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, %v", changes, err)
		}
	})
}

func TestLookup(t *testing.T) {
	for _, typ := range resource.Types {
		for _, alias := range typ.Aliases {
			if got, err := resource.Lookup(strings.ToUpper(alias)); err != nil || got != typ {
				t.Errorf("Lookup(%q) = %v, %v", alias, got, err)
			}
		}
	}
	for name, want := range map[string]string{"pods": "there are: kubespanidentities", "menbers": `did you mean "members"?`, "": "there are: kubespanidentities"} {
		if _, err := resource.Lookup(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Lookup(%q): %v", name, err)
		}
	}
}

func BenchmarkReplaceUnchanged(b *testing.B) {
	for _, n := range []int{100, 1000, 5000} {
		b.Run(fmt.Sprintf("resources=%d", n), func(b *testing.B) {
			specs := make(map[string]any, n)
			for i := range n {
				specs[fmt.Sprint(i)] = member(fmt.Sprint(i))
			}
			var s resource.Store
			b.ReportAllocs()
			for b.Loop() {
				s.Replace(first, resource.Members, specs)
			}
		})
	}
}
