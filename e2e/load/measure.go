package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spanmesh/span/e2e/internal/process"
)

// bench measures one server of a build.
type bench struct {
	binary, etcd string
	// scale divides the load.
	scale int
	// dir is an empty directory.
	dir string
}

// measurement is a load, and the figures that it yields.
type measurement struct {
	// name selects it by a flag.
	name    string
	figures []figure
	// run returns the figures, in order.
	run func(context.Context, *bench) ([]float64, error)
}

// The size of the load.
const (
	// warmUp is the number of affiliates that exist before updates are timed.
	warmUp = 20_000
	// updates is the number of timed updates in memory, boltUpdates and etcdUpdates those on
	// bolt and etcd.
	updates, boltUpdates, etcdUpdates = 150_000, 50_000, 10_000
	// filled is the number of affiliates that memory is measured with.
	filled = 100_000
	// listed is the number of affiliates of a cluster that is listed, and lists how often.
	listed, listings = 1000, 500
	// crowdSize is the number of machines that join at once.
	crowdSize = 3000
	// settle is how long a server is left alone before its memory at rest is read.
	settle = 2 * time.Second
)

func measurements(etcd bool) []measurement {
	all := []measurement{
		{"updates", []figure{
			{"processor time of an update, gRPC, µs", 1, target{ratioAtMost, 0.45}},
			{"updates/s, gRPC", 0, target{ratioAtLeast, 1.7}},
		}, updating("memory", updates, flood)},
		{"json", []figure{
			{"processor time of an update, Connect with JSON, µs", 1, target{}},
			{"updates/s, Connect with JSON", 0, target{}},
		}, updating("memory", updates, floodJSON)},
		{"bolt", []figure{
			{"processor time of an update on bolt, gRPC, µs", 1, target{}},
			{"updates/s on bolt, gRPC", 0, target{ratioAtLeast, 1.5}},
		}, updating("bolt", boltUpdates, flood)},
		watching("fanout1", "1 watcher", 1, 1, 50, target{}, target{}),
		watching("fanout100", "100 watchers on 8 connections", 100, 8, 50, target{}, target{}),
		watching("fanout1000", "1,000 watchers on 8 connections", 1000, 8, 50, target{ratioAtMost, 0.5}, target{ratioAtMost, 1}),
		watching("each", "1,000 watchers on one each", 1000, 1000, 20, target{ratioAtMost, 0.7}, target{ratioAtMost, 1}),
		{"join", []figure{
			{"3,000 machines join: s until all know all", 1, target{}},
			{"3,000 machines join: processor time, s", 1, target{ratioAtMost, 1. / 3}},
			{"3,000 machines join: messages of watches", 0, target{ratioAtMost, 0.2}},
			{"3,000 machines join: most memory, MiB", 0, target{}},
			{"3,000 machines join: connections that failed", 0, target{}},
		}, joining},
		{"list", []figure{{"list of 1,000, ms", 2, target{}}, {"processor time of a list of 1,000, µs", 0, target{}}}, listing},
		{"start", []figure{
			{"memory at the start, MiB", 1, target{}},
			{"of its own (anonymous), MiB", 1, target{ratioAtMost, 1}},
		}, starting},
		{"memory", []figure{{"bytes of an affiliate in memory", 0, target{}}}, filling("memory")},
		{"memory-bolt", []figure{
			{"bytes of an affiliate on bolt", 0, target{atMost, 900}},
			{"bytes of an affiliate on bolt, after a restart", 0, target{}},
			{"s to start with 100,000 on bolt", 2, target{}},
		}, filling("bolt")},
	}
	if etcd {
		all = append(all, measurement{"etcd", []figure{
			{"processor time of an update on etcd, gRPC, µs", 1, target{}},
			{"updates/s on etcd, gRPC", 0, target{}},
		}, updating("etcd", etcdUpdates, flood)})
	}
	return all
}

// serve starts a server with a store of a kind, without data.
func (b *bench) serve(ctx context.Context, kind string) (s *server, stop func(), err error) {
	switch kind {
	case "memory":
		s, err = serve(ctx, b.binary, "memory")
	case "bolt":
		s, err = serve(ctx, b.binary, "bolt:"+b.boltPath())
	case "etcd":
		url, etcd, failed := startEtcd(ctx, b.etcd, b.dir)
		if failed != nil {
			return nil, nil, failed
		}
		if s, err = serve(ctx, b.binary, "etcd:"+url); err != nil {
			etcd.Stop()
			return nil, nil, err
		}
		return s, func() { s.Stop(); etcd.Stop() }, nil
	}
	if err != nil {
		return nil, nil, err
	}
	return s, s.Stop, nil
}

func (b *bench) boltPath() string { return filepath.Join(b.dir, "discovery.db") }

// updating measures updates of affiliates that exist.
func updating(kind string, count int, flood func(ctx context.Context, s *server, n, perCluster int) error) func(context.Context, *bench) ([]float64, error) {
	return func(ctx context.Context, b *bench) ([]float64, error) {
		s, stop, err := b.serve(ctx, kind)
		if err != nil {
			return nil, err
		}
		defer stop()
		existing := min(warmUp, count) / b.scale
		perCluster := max(1, existing/clusters)
		if err := flood(ctx, s, existing, perCluster); err != nil {
			return nil, err
		}
		c, err := timed(s, count/b.scale, func() error { return flood(ctx, s, count/b.scale, perCluster) })
		return []float64{c.micros(), c.perSecond()}, err
	}
}

// watching measures a fanout.
func watching(name, what string, watchers, conns, rate int, cpu, p99 target) measurement {
	// Fewer watchers are measured for as long.
	const lasting = 6 * time.Second
	return measurement{name, []figure{
		{"processor time of a delivery to " + what + ", µs", 1, cpu},
		{"p50 of a delivery to " + what + ", ms", 1, target{}},
		{"p99 of a delivery to " + what + ", ms", 1, p99},
	}, func(ctx context.Context, b *bench) ([]float64, error) {
		s, stop, err := b.serve(ctx, "memory")
		if err != nil {
			return nil, err
		}
		defer stop()
		w, err := fanout(ctx, s, watchers, conns, rate, lasting/time.Duration(b.scale))
		if err != nil {
			return nil, err
		}
		return []float64{w.micros(), w.percentile(0.50), w.percentile(0.99)}, nil
	}}
}

// joining measures machines that join one cluster at once.
func joining(ctx context.Context, b *bench) ([]float64, error) {
	s, stop, err := b.serve(ctx, "memory")
	if err != nil {
		return nil, err
	}
	defer stop()
	j, err := join(ctx, s, crowdSize/b.scale)
	if err != nil {
		return nil, err
	}
	m, err := s.Memory()
	return []float64{j.wall.Seconds(), j.cpu.Seconds(), float64(j.messages), float64(m.Most) / (1 << 20), float64(j.lost)}, err
}

// listing measures the list of a cluster.
func listing(ctx context.Context, b *bench) ([]float64, error) {
	s, stop, err := b.serve(ctx, "memory")
	if err != nil {
		return nil, err
	}
	defer stop()
	one := func(i int) affiliate { return published("list", strconv.Itoa(i), uint64(i)) }
	if err := floodWith(ctx, s, listed/b.scale, one); err != nil {
		return nil, err
	}
	c, err := timed(s, listings, func() error { return lists(ctx, s, "list", listings) })
	return []float64{float64(c.wall) / float64(time.Millisecond) / listings, c.micros()}, err
}

// starting measures the memory of a server without work.
func starting(ctx context.Context, b *bench) ([]float64, error) {
	s, stop, err := b.serve(ctx, "memory")
	if err != nil {
		return nil, err
	}
	defer stop()
	if err := lists(ctx, s, "none", 1); err != nil {
		return nil, err
	}
	time.Sleep(settle)
	m, err := s.Memory()
	return []float64{float64(m.Resident) / (1 << 20), float64(m.Anonymous) / (1 << 20)}, err
}

// filling measures the memory of affiliates: what is resident when they have come. For
// bolt, also after a restart, and how long that takes.
func filling(kind string) func(context.Context, *bench) ([]float64, error) {
	return func(ctx context.Context, b *bench) ([]float64, error) {
		s, stop, err := b.serve(ctx, kind)
		if err != nil {
			return nil, err
		}
		before, err := s.Memory()
		n := filled / b.scale
		err = errors.Join(err, flood(ctx, s, n, filled/clusters))
		after, failed := s.Memory()
		stop()
		if err := errors.Join(err, failed); err != nil {
			return nil, err
		}
		bytesOf := func(m process.Memory) float64 { return float64(m.Resident-before.Resident) / float64(n) }
		if kind != "bolt" {
			return []float64{bytesOf(after)}, nil
		}
		started := time.Now()
		if s, stop, err = b.serve(ctx, kind); err != nil {
			return nil, err
		}
		defer stop()
		took := time.Since(started)
		again, err := s.Memory()
		return []float64{bytesOf(after), bytesOf(again), took.Seconds()}, errors.Join(err, os.Remove(b.boltPath()))
	}
}
