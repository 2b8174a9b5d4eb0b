package relayprocess

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/netlinkapply"
	"github.com/spanmesh/span/netlinkapply/detached"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/relay"
	"github.com/spanmesh/span/relay/front"
	"github.com/spanmesh/span/relay/savefile"
	"github.com/spanmesh/span/relay/udp"
)

// inherited is set in the environment of the process that serves.
const inherited = "SPANCTL_RELAY_INHERITED"

// The files of the directory.
const (
	keyFile   = "key"
	tableFile = "table"
	logFile   = "log"
)

// renewEvery is how often the members are admitted again: what a relay admits lasts relay.JoinFor.
const renewEvery = relay.JoinFor / 6

// cluster names the one cluster of a relay.
const cluster = "cluster"

// everywhere is in place of the addresses of members, which are not known before they register.
var everywhere = netip.IPv6Unspecified()

// Main is the program of the process that Start runs, and of the relay that this starts.
func Main(dir, port, mark string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if !detached.Inherited(inherited) {
		return detached.Spawn(inherited, filepath.Join(dir, logFile))
	}
	err := serve(dir, port, mark)
	if err != nil && detached.Inherited(inherited) {
		return errors.Join(err, detached.Ready(inherited, err))
	}
	return err
}

// process is a relay with its control socket.
type process struct {
	front *front.Front
	port  uint16
	mark  uint32

	// mu guards the fields below.
	mu       sync.Mutex
	admitted Admission
	// fault says who of the admission was refused; empty for nobody.
	fault string
}

// limits fit a cluster of 10,000 members, with tables of 121 MB at most. There is no way over TCP.
func limits() front.Limits {
	l := front.DefaultLimits()
	l.MembersPerAddress, l.ClustersPerMember = l.Members, 1 // no addresses are known, and there is one cluster
	l.KeysWithoutAgent, l.KeysWithoutAgentPerAddress, l.AllKeysWithoutAgent = maxWithoutAgent, maxWithoutAgent, maxWithoutAgent
	l.MemberTrialsPerAddress = l.MemberTrials
	l.Flows = 1 << 18
	l.Streams, l.StreamsPerAddress = 0, 0
	return l
}

// serve is a relay until a signal ends the process, or its control socket is gone.
func serve(dir, port, mark string) error {
	p := &process{}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return fmt.Errorf("port %q: %w", port, err)
	}
	bits, err := strconv.ParseUint(mark, 10, 32)
	if err != nil {
		return fmt.Errorf("mark %q: %w", mark, err)
	}
	p.port, p.mark = uint16(number), uint32(bits)
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, os.Interrupt)
	defer stop()
	if err := p.open(ctx, dir); err != nil {
		return err
	}
	socket, err := detached.Listen(dir, socketName)
	if err != nil {
		return err
	}
	defer socket.Remove()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return p.front.Run(ctx) })
	group.Go(func() error { return socket.Serve(ctx, p.answer) })
	group.Go(func() error { p.renew(ctx); return nil })
	if err := detached.Ready(inherited, nil); err != nil {
		return err
	}
	if err := group.Wait(); !errors.Is(err, detached.ErrGone) {
		return err
	}
	return nil
}

// open opens the relay at its port.
func (p *process) open(ctx context.Context, dir string) error {
	private, err := savefile.Key(filepath.Join(dir, keyFile))
	if err != nil {
		return fmt.Errorf("read the relay's key: %w", err)
	}
	conn, err := netlinkapply.ListenMarked(ctx, p.port, p.mark)
	if err != nil {
		return err
	}
	socket, err := udp.New(conn)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	p.front, err = front.New(front.Options{Private: private, Limits: limits(), Sockets: []*udp.Conn{socket}, Table: filepath.Join(dir, tableFile), Log: log})
	return err
}

// answer answers a request of the agent.
func (p *process) answer(_ *net.UnixConn, text []byte) []byte {
	state := State{PID: os.Getpid(), Key: mesh.Key(p.front.PublicKey()), Port: p.port, Mark: p.mark}
	var asked request
	err := json.Unmarshal(text, &asked)
	if err == nil && asked.Admit != nil {
		p.admit(*asked.Admit)
	}
	p.mu.Lock()
	state.Fault = p.fault
	p.mu.Unlock()
	if err != nil {
		state.Fault = err.Error()
	}
	state.Counts = p.front.Counts()
	answer, _ := json.Marshal(state) // it has numbers and texts alone
	return answer
}

// admit carries packets for those of an admission, and for nobody else if it is complete.
func (p *process) admit(a Admission) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.admitted = following(p.admitted, a, mesh.Key(p.front.PublicKey()))
	if a.Complete {
		p.leave()
	}
	p.join(time.Now())
}

// following returns whom a relay with a key carries packets for after an admission. Its own key is that
// of no machine, though a member may publish it.
func following(before, a Admission, own mesh.Key) Admission {
	known := make(map[mesh.Key]bool, len(a.Members)+len(a.WithoutAgent)+1)
	known[own] = true
	add := func(to, keys []mesh.Key, most int) []mesh.Key {
		for _, k := range keys {
			if !known[k] && len(to) < most {
				to, known[k] = append(to, k), true
			}
		}
		return to
	}
	next := Admission{Complete: a.Complete}
	next.Members = add(nil, a.Members, maxMembers)
	next.WithoutAgent = add(nil, a.WithoutAgent, maxWithoutAgent)
	if !a.Complete {
		next.Members = add(next.Members, before.Members, maxMembers)
		next.WithoutAgent = add(next.WithoutAgent, before.WithoutAgent, maxWithoutAgent)
	}
	return next
}

// leave ends what was allowed to others than those of the admission, among them members that the table
// of an earlier process has. The caller holds mu.
func (p *process) leave() {
	stay := make(map[mesh.Key]bool, len(p.admitted.Members))
	for _, k := range p.admitted.Members {
		stay[k] = true
	}
	for _, k := range p.front.Members(cluster) {
		if !stay[mesh.Key(k)] {
			p.front.Leave(cluster, k)
		}
	}
}

// join admits those of the admission, and notes in fault whom the relay refuses. The caller holds mu.
func (p *process) join(now time.Time) {
	named := make([]relay.Key, len(p.admitted.WithoutAgent))
	for i, k := range p.admitted.WithoutAgent {
		named[i] = relay.Key(k)
	}
	refused, first := 0, ""
	for _, k := range p.admitted.Members {
		err := p.front.Join(now, cluster, relay.Key(k), everywhere, named)
		if err == nil {
			named = nil // once is enough
			continue
		}
		if refused++; refused == 1 {
			first = fmt.Sprintf("%s: %v", k, err)
		}
	}
	if p.fault = ""; refused > 0 {
		p.fault = fmt.Sprintf("%d of %d members are not admitted, the first of them %s", refused, len(p.admitted.Members), first)
	}
}

// renew admits the members again before that ends, until ctx ends.
func (p *process) renew(ctx context.Context) {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			p.mu.Lock()
			p.join(now)
			p.mu.Unlock()
		}
	}
}
