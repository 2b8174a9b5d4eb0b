package tunnel

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/spanmesh/span/relay/stream"
)

var errReset = errors.New("reset by the relay")

func TestStreamsThatEndSoonFail(t *testing.T) {
	for _, c := range []struct {
		lasted   time.Duration
		received bool
		fails    bool
	}{
		{0, false, true},
		{time.Hour, false, true},
		{shortest - 1, true, true},
		{shortest, true, false},
	} {
		if err := soonEnded(c.lasted, c.received, errReset); (err != nil) != c.fails || c.fails && !errors.Is(err, errReset) {
			t.Errorf("after %v, received %v: %v", c.lasted, c.received, err)
		}
	}
}

func TestPausesGrow(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tun := &Tunnel{options: Options{Log: slog.New(slog.DiscardHandler)}}
	end := func(failure error) time.Duration {
		conn := &stream.Conn{}
		tun.stream = conn
		tun.ended(t.Context(), now, conn, failure, errReset)
		if tun.stream != nil {
			t.Error("the stream is still there")
		}
		return tun.again.Sub(now)
	}
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		if pause := end(errReset); pause != want*time.Second || !errors.Is(tun.Failure(), errReset) {
			t.Errorf("after stream %d, the pause is %v, and the failure %v", i, pause, tun.Failure())
		}
	}
	tun.reached()
	if end(nil); tun.failures != 0 || !tun.again.IsZero() || tun.Failure() != nil {
		t.Errorf("after one that lasted: %d failures, again at %v, %v", tun.failures, tun.again, tun.Failure())
	}
}

func TestWhatThisEndClosesIsNoFailure(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	other := &stream.Conn{}
	for name, c := range map[string]struct {
		ctx  context.Context
		conn *stream.Conn
	}{"idle": {t.Context(), other}, "closed": {ended, other}} {
		tun := &Tunnel{options: Options{Log: slog.New(slog.DiscardHandler)}}
		if name == "closed" {
			tun.stream = other
		}
		if tun.ended(c.ctx, time.Now(), c.conn, errReset, errReset); tun.failures != 0 || tun.Failure() != nil {
			t.Errorf("%s: %v", name, tun.Failure())
		}
	}
}
