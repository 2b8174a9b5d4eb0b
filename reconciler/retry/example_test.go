package retry_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spanmesh/span/reconciler/retry"
)

// A connection is tried until it is up. A log line would have the pause as
// retry_in; it is random and therefore not printed here.
func ExampleDo() {
	attempts := 0
	connect := func(context.Context) error {
		if attempts++; attempts < 3 {
			return errors.New("connection refused")
		}
		return nil
	}
	err := retry.Do(context.Background(), retry.New(time.Millisecond, time.Second), func(err error, _ time.Duration) {
		fmt.Println("connect failed:", err)
	}, connect)
	fmt.Println("attempts:", attempts, "error:", err)
	// Output:
	// connect failed: connection refused
	// connect failed: connection refused
	// attempts: 3 error: <nil>
}

// A refused password does not become right by repeating it.
func ExamplePermanent() {
	err := retry.Do(context.Background(), retry.New(time.Second, time.Minute), nil, func(context.Context) error {
		return retry.Permanent(errors.New("wrong password"))
	})
	fmt.Println(err)
	// Output: wrong password
}
