package firewall

import (
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/reconciler/condition"
)

func TestExplainMissing(t *testing.T) {
	for _, c := range []struct {
		err     error
		missing bool
	}{
		{unix.EPROTONOSUPPORT, true},
		{unix.EOPNOTSUPP, true},
		{unix.EINVAL, true},
		{unix.EPERM, false},
		{unix.ENOENT, false},
		{nil, false},
	} {
		var err error
		if c.err != nil {
			err = fmt.Errorf("list tables: %w", c.err)
		}
		var failed *condition.Error
		got := explainMissing(err)
		if missing := errors.As(got, &failed) && failed.Code == condition.NoNftables; missing != c.missing || !errors.Is(got, c.err) {
			t.Errorf("%v: %v", c.err, got)
		}
	}
}
