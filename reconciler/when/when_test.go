package when_test

import (
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler/when"
)

func TestEarlier(t *testing.T) {
	never, soon, later := time.Time{}, time.Unix(1, 0), time.Unix(2, 0)
	for _, c := range []struct{ a, b, want time.Time }{
		{never, never, never}, {soon, never, soon}, {never, soon, soon}, {soon, later, soon}, {later, soon, soon}, {soon, soon, soon},
	} {
		if got := when.Earlier(c.a, c.b); !got.Equal(c.want) {
			t.Errorf("of %v and %v: %v, want %v", c.a, c.b, got, c.want)
		}
	}
}
