package latest_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/spanmesh/span/reconciler/latest"
)

func TestQueueKeepsTheLastValueOfAKeyInItsPlace(t *testing.T) {
	q := latest.New[string, int]()
	for i, key := range []string{"a", "b", "a", "c", "b"} {
		q.Push(key, i)
	}
	got, err := q.Next(t.Context())
	if err != nil || !slices.Equal(got, []int{2, 4, 3}) {
		t.Errorf("got %v, %v", got, err)
	}
	q.Push("a", 9)
	if got, err := q.Next(t.Context()); err != nil || !slices.Equal(got, []int{9}) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestNextWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := latest.New[string, int]()
		ctx, cancel := context.WithCancel(t.Context())
		results := make(chan []int)
		failed := make(chan error)
		go func() {
			for {
				values, err := q.Next(ctx)
				if err != nil {
					failed <- err
					return
				}
				results <- values
			}
		}()
		synctest.Wait() // asleep in Next
		q.Push("a", 1)
		if got := <-results; !slices.Equal(got, []int{1}) {
			t.Errorf("got %v", got)
		}
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}
