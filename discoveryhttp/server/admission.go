package server

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
)

// admission decides when a call is served. A call beyond a rate waits for its turn. It is
// refused at once if its turn would come too late, or if too many others wait.
type admission struct {
	perAddress *limiter[netip.Addr]
	perCluster *limiter[string]
	// maxWait bounds the wait of a call that has no earlier deadline.
	maxWait time.Duration
	// waiting bounds the calls that wait.
	waiting *quota[netip.Addr]
	// watches bounds the open watches.
	watches *quota[netip.Addr]
	closing context.Context
	// waits measures calls that wait.
	waits prometheus.Histogram
}

func newAdmission(closing context.Context, l Limits) *admission {
	return &admission{
		perAddress: newLimiter[netip.Addr](l.PerAddress),
		perCluster: newLimiter[string](l.PerCluster),
		maxWait:    l.MaxWait,
		waiting:    newQuota[netip.Addr](l.WaitingPerAddress, l.Waiting),
		watches:    newQuota[netip.Addr](l.WatchesPerAddress, l.Watches),
		closing:    closing,
		waits: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Name: "wait_seconds",
			Help: "Time for which calls beyond a rate wait for their turn, in seconds.", Buckets: []float64{.01, .1, .5, 1, 2, 5, 10}}),
	}
}

// collectors returns the metrics of the admission.
func (a *admission) collectors() []prometheus.Collector {
	return []prometheus.Collector{a.waits, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: "waiting_calls",
		Help: "Calls beyond a rate that wait for their turn."}, func() float64 { return float64(a.waiting.count()) })}
}

// turn is a call's place among others.
type turn struct {
	// address is the key of the caller's rate.
	address netip.Addr
	// cluster is the ID of the cluster whose rate the call is counted at; empty for none.
	cluster string
	// wait is the time until the turn.
	wait time.Duration
	// patience bounds wait.
	patience time.Duration
}

// reserve counts a call at the rate of its caller.
func (a *admission) reserve(ctx context.Context, caller netip.Addr, now time.Time) (turn, error) {
	t := turn{address: rateKey(caller), patience: a.maxWait}
	if deadline, ok := ctx.Deadline(); ok {
		t.patience = min(t.patience, max(0, deadline.Sub(now)))
	}
	var ok bool
	if t.wait, ok = a.perAddress.reserve(t.address, now, t.patience); !ok {
		return t, rateError("this address", t.wait)
	}
	return t, nil
}

// reserveCluster counts a call with a turn at the rate of a cluster, too. The turn is the
// later of both.
func (a *admission) reserveCluster(t turn, clusterID string, now time.Time) (turn, error) {
	wait, ok := a.perCluster.reserve(clusterID, now, t.patience)
	if !ok {
		return t, rateError("this cluster", wait)
	}
	t.cluster, t.wait = clusterID, max(t.wait, wait)
	return t, nil
}

// cancel undoes a reservation.
func (a *admission) cancel(t turn) {
	a.perAddress.cancel(t.address)
	if t.cluster != "" {
		a.perCluster.cancel(t.cluster)
	}
}

// await waits for a turn.
func (a *admission) await(ctx context.Context, t turn) error {
	if t.wait == 0 {
		return nil
	}
	if err := a.waiting.enter(t.address); err != nil {
		a.cancel(t)
		if errors.Is(err, errKeyFull) {
			return rateError("this address", t.wait)
		}
		return rateError("all addresses", t.wait)
	}
	defer a.waiting.leave(t.address)
	a.waits.Observe(t.wait.Seconds())
	// The request has been read: from now on it may take longer than that may.
	clearReadDeadline(ctx)
	timer := time.NewTimer(t.wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-a.closing.Done():
		return connect.NewError(connect.CodeUnavailable, errors.New("the server is shutting down"))
	}
}

// openWatch counts an open watch of a caller. After nil, the caller of openWatch calls
// closeWatch.
func (a *admission) openWatch(caller netip.Addr) error {
	switch err := a.watches.enter(rateKey(caller)); {
	case errors.Is(err, errKeyFull):
		return connect.NewError(connect.CodeResourceExhausted, errors.New("this address has reached its limit of watches and lists"))
	case err != nil:
		return connect.NewError(connect.CodeResourceExhausted, errors.New("the server has reached its limit of watches and lists"))
	}
	return nil
}

func (a *admission) closeWatch(caller netip.Addr) { a.watches.leave(rateKey(caller)) }

// admit returns once a call may be served. It returns the hash of the caller's token, nil if
// none is needed. It returns an error for a call that is beyond a rate and cannot wait, has
// an invalid cluster ID, or lacks a token that it needs.
func (s *Server) admit(ctx context.Context, c call, clusterID string) (token []byte, err error) {
	now := time.Now()
	turn, err := s.admission.reserve(ctx, c.caller, now)
	if err != nil {
		return nil, err
	}
	if err := s.options.Limits.checkID("cluster_id", clusterID); err != nil {
		return nil, err
	}
	if s.log.Enabled(ctx, slog.LevelDebug) {
		s.log.Debug("call", "method", c.procedure, "cluster", labelOf(clusterID), "caller", c.caller.String())
	}
	// A caller without the token must not use up the rate of the cluster.
	if token, err = s.authorize(ctx, clusterID, c.authorization, now); err != nil {
		return nil, err
	}
	if turn, err = s.admission.reserveCluster(turn, clusterID, now); err != nil || turn.wait == 0 {
		return token, err
	}
	if err := s.admission.await(ctx, turn); err != nil {
		return nil, err
	}
	// Another token may have been pinned meanwhile.
	return s.authorize(ctx, clusterID, c.authorization, time.Now())
}
