package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/spanmesh/span/discoveryhttp"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/load"
)

// settles is how long an agent works on what it has learnt, before its memory counts.
const settles = 20 * time.Second

// BenchmarkMemory is what an agent has of memory of its own, with WireGuard in a process beside it, in clusters
// of other machines that a discovery server knows and that do not answer. An agent with 5,000 of them is to
// have at most 60 MiB: of-target is at most 1 then.
func BenchmarkMemory(b *testing.B) {
	const target = 60
	spanctl := program(b, "SPANCTL_BINARY")
	for _, machines := range []int{1, 5000} {
		b.Run(fmt.Sprintf("machines=%d", machines), func(b *testing.B) {
			var own float64
			for b.Loop() {
				own = ownMemory(b, spanctl, machines)
			}
			b.ReportMetric(own, "MiB")
			if machines == 5000 {
				b.ReportMetric(own/target, "of-target")
			}
			b.ReportMetric(0, "ns/op") // that is the time of the server
		})
	}
}

// ownMemory returns the anonymous memory of an agent in MiB.
func ownMemory(b *testing.B, spanctl string, machines int) float64 {
	b.Helper()
	dir := b.TempDir()
	run := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(b.Context(), spanctl, args...)
		cmd.Env = append(os.Environ(), "SPANCTL_WIREGUARD=userspace", "SPANCTL_CONFIG="+filepath.Join(dir, "machine.cue"),
			"SPANCTL_STATE_DIR="+filepath.Join(dir, "state"), "SPANCTL_SOCKET="+filepath.Join(dir, "socket"))
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		return cmd
	}
	const server = "127.0.0.1:3000"
	serve := run("discovery", "serve", "--listen", server, "--store", "memory", "--state-dir", filepath.Join(dir, "server"),
		"--rate-per-address", "0", "--rate-per-cluster", "0")
	awaitLine(b, serve, "serving discovery")
	defer end(serve)
	if out, err := run("gen", "config", "--with-kubespan", "--discovery-endpoint", "http://"+server, "-o", filepath.Join(dir, "machine.cue")).CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	announce(b, filepath.Join(dir, "machine.cue"), machines)
	agent := run("run")
	awaitLine(b, agent, "change applied")
	defer end(agent)
	awaitPeers(b, run("get", "kubespanpeerspecs", "--watch", "-o", "name"), machines)
	time.Sleep(settles) // no event marks the end of the garbage collection
	own := anonymous(b, agent.Process.Pid)
	if out, err := run("down").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	return own
}

// end ends a program and waits for it.
func end(cmd *exec.Cmd) {
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_ = cmd.Wait()
}

// awaitLine starts a program, and waits until it has logged a line with some words. The rest is read and
// forgotten.
func awaitLine(b *testing.B, cmd *exec.Cmd, words string) {
	b.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = write, write
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	_ = write.Close()
	found, said := make(chan bool, 1), ""
	go func() {
		for lines := bufio.NewScanner(read); lines.Scan(); {
			if said = lines.Text(); strings.Contains(said, words) {
				found <- true
				for lines.Scan() {
				}
				return
			}
		}
		found <- false
	}()
	if !<-found {
		b.Fatalf("%v ended: %s", cmd.Args, said)
	}
}

// awaitPeers waits until a watch has shown so many peers.
func awaitPeers(b *testing.B, watch *exec.Cmd, peers int) {
	b.Helper()
	out, err := watch.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := watch.Start(); err != nil {
		b.Fatal(err)
	}
	defer end(watch)
	shown := map[string]bool{}
	for lines := bufio.NewScanner(out); len(shown) < peers && lines.Scan(); {
		shown[lines.Text()] = true
	}
	if len(shown) < peers {
		b.Fatalf("the watch ended after %d peers", len(shown))
	}
}

// announce publishes machines, as their agents would.
func announce(b *testing.B, file string, machines int) {
	b.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		b.Fatal(err)
	}
	config, err := load.Config(file, text)
	if err != nil {
		b.Fatal(err)
	}
	var group errgroup.Group
	group.SetLimit(8)
	for i := range machines {
		group.Go(func() error { return announceOne(b.Context(), config, uint32(i)) })
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
}

// announceOne publishes a machine with a number. It has an address, a network and an address in the mesh.
func announceOne(ctx context.Context, config *schema.Config, number uint32) error {
	var key [32]byte
	var mac [6]byte
	binary.BigEndian.PutUint32(key[4:], number+1)
	binary.BigEndian.PutUint32(mac[2:], number+1)
	id := fmt.Sprintf("%032d", number)
	identity, err := mesh.NewIdentity(id, mesh.SecretKey(key), config.Cluster.ID, net.HardwareAddr(mac[:]))
	if err != nil {
		return err
	}
	registry, err := discoveryhttp.Open(reconciler.RegistryOptions{Config: config, NodeID: id, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	own := netip.AddrFrom4([4]byte{10, 1, byte(number >> 8), byte(number)})
	network := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64 + byte(number>>12), byte(number >> 4), byte(number << 4)}), 28)
	return registry.Announce(ctx, mesh.Affiliate{
		NodeID: id, Hostname: "machine-" + strconv.Itoa(int(number)), Nodename: "machine-" + strconv.Itoa(int(number)), MachineType: mesh.MachineTypeWorker,
		OperatingSystem: "Linux", Addresses: []netip.Addr{own},
		KubeSpan: mesh.KubeSpan{PublicKey: identity.PublicKey, Address: identity.Address.Addr(), AdditionalAddresses: []netip.Prefix{network},
			Endpoints: []netip.AddrPort{netip.AddrPortFrom(own, 51820)}, KnowsRelays: true},
	})
}

// anonymous returns the anonymous memory of a process in MiB (proc(5), smaps_rollup).
func anonymous(b *testing.B, pid int) (mebi float64) {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, is := strings.CutPrefix(line, "Anonymous:"); is {
			var kibi float64
			if _, err := fmt.Sscanf(value, "%f", &kibi); err != nil {
				b.Fatal(err)
			}
			return kibi / 1024
		}
	}
	b.Fatal("smaps_rollup has no anonymous memory")
	return 0
}
