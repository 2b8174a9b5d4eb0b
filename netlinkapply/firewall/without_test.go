package firewall

import (
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWithout(t *testing.T) {
	receive := func(errs ...error) error { return fmt.Errorf("receive: %w", errors.Join(errs...)) }
	missing, exists := fmt.Errorf("netlink: %w", unix.ENOENT), fmt.Errorf("netlink: %w", unix.EEXIST)
	for _, c := range []struct {
		name string
		err  error
		left bool
	}{
		{"none", nil, false},
		{"the expected one", receive(exists), false},
		{"another", receive(missing), true},
		{"both", receive(missing, exists), true},
		{"both, joined one in the other", receive(errors.Join(errors.Join(exists, missing), exists)), true},
		{"the expected one twice", receive(errors.Join(exists, exists)), false},
	} {
		if left := without(c.err, unix.EEXIST); (left != nil) != c.left || errors.Is(left, unix.ENOENT) != c.left {
			t.Errorf("%s: left is %v", c.name, left)
		}
	}
}
