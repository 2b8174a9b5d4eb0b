package server

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"connectrpc.com/connect"
)

// Every watch ends with the error of its context, when its caller leaves.
func TestCodeOfACall(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{nil, "ok"},
		{connect.NewError(connect.CodeResourceExhausted, errors.New("full")), "resource_exhausted"},
		{connect.NewError(connect.CodeUnavailable, context.Canceled), "unavailable"},
		{context.Canceled, "canceled"},
		{fmt.Errorf("wait: %w", context.DeadlineExceeded), "deadline_exceeded"},
		{errors.New("broken"), "unknown"},
	} {
		if got := codeOf(c.err); got != c.want {
			t.Errorf("%v is %s, want %s", c.err, got, c.want)
		}
		if _, refused := reasonOf(codeOf(c.err)); refused != (c.want != "ok" && c.want != "canceled" && c.want != "deadline_exceeded") {
			t.Errorf("%v counts as refused: %v", c.err, refused)
		}
	}
}
