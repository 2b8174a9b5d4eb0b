package firewall

import (
	"fmt"
	"slices"
	"time"

	"github.com/google/nftables"

	"github.com/spanmesh/span/reconciler/state"
)

// maxAge is how long a reading holds at most. A module that is removed and loaded again counts
// its generations from the start.
const maxAge = 10 * time.Minute

// Tables reads and changes the tables. It reads them anew only when they may have changed. Its zero
// value is ready for use. It is for one goroutine. The user must call Close.
//
// The sockets stay open. When one is closed, the kernel waits until it has freed what transactions
// have replaced (nft_rcv_nl_event), which takes longer than a transaction.
type Tables struct {
	conn *nftables.Conn
	// questions is for generations and counters.
	questions *socket
	last      reading
}

// Close closes the sockets. The next use opens them again.
func (t *Tables) Close() {
	if t.conn != nil {
		_ = t.conn.CloseLasting()
	}
	t.conn = nil
	t.questions.close()
	t.questions = nil
}

// use calls do with the connection. After an error it closes the socket, in which an answer may be
// left.
func (t *Tables) use(do func(*nftables.Conn) error) (err error) {
	if t.conn == nil {
		if t.conn, err = nft(nftables.AsLasting()); err != nil {
			return explainMissing(err)
		}
	}
	if err := do(t.conn); err != nil {
		t.Close()
		return err
	}
	return nil
}

// ask calls do with the socket for questions, and closes it after an error.
func (t *Tables) ask(do func(*socket) error) (err error) {
	if t.questions == nil {
		if t.questions, err = openSocket(); err != nil {
			return err
		}
	}
	if err := do(t.questions); err != nil {
		t.questions.close()
		t.questions = nil
		return err
	}
	return nil
}

// generation returns the present generation; 0 if it is unknown.
func (t *Tables) generation() (n uint32) {
	_ = t.ask(func(s *socket) (err error) {
		n, err = s.generation()
		return err
	})
	return n
}

// reading is what was read last.
type reading struct {
	// generation is that of nftables before and after the reading; 0 if it changed or is unknown.
	generation uint32
	scope      state.Scope
	at         time.Time
	firewall   state.Firewall
	neighbours []state.Neighbour
	// counted are the chains with rules that count what they drop.
	counted []countedChain
}

// countedChain is a chain in a table, and the operations of its rules.
type countedChain struct {
	table, name string
	statements  []state.Statement
}

// holds reports whether a reading is still that of a scope, at the present generation.
func (l *reading) holds(generation uint32, scope state.Scope, now time.Time) bool {
	age := now.Sub(l.at)
	return generation != 0 && l.generation == generation && l.scope == scope && age >= 0 && age < maxAge
}

// share returns the firewall and the neighbours, with lists that their user may sort. The networks
// and the statements must not be changed.
func (l *reading) share() (state.Firewall, []state.Neighbour) {
	f := l.firewall
	f.Chains, f.Guard.Chains, f.Former = slices.Clone(f.Chains), slices.Clone(f.Guard.Chains), slices.Clone(f.Former)
	return f, slices.Clone(l.neighbours)
}

// Observe returns the tables in scope, and the other meshes of the machine. The Firewall is zero
// if there is no table. While the kernel's generation is that of the last reading, only the
// counters are read: the sets may have thousands of networks.
func (t *Tables) Observe(scope state.Scope, now time.Time) (state.Firewall, []state.Neighbour, error) {
	generation := t.generation()
	if !t.last.holds(generation, scope, now) || !t.recount(generation) {
		if err := t.read(scope, now); err != nil {
			return state.Firewall{}, nil, err
		}
	}
	firewall, neighbours := t.last.share()
	return firewall, neighbours, nil
}

// recount reads the counters, and reports whether the last reading still holds after that.
func (t *Tables) recount(generation uint32) bool {
	err := t.ask(func(s *socket) (err error) {
		t.last.firewall.Dropped, err = readDropped(s, t.last.counted)
		return err
	})
	return err == nil && t.generation() == generation
}

// read reads all.
func (t *Tables) read(scope state.Scope, now time.Time) error {
	t.last = reading{}
	before := t.generation()
	var read reading
	err := t.use(func(conn *nftables.Conn) (err error) {
		read, err = readTables(conn, scope)
		return err
	})
	if err != nil {
		return err
	}
	if t.generation() == before {
		read.generation = before
	}
	read.scope, read.at = scope, now
	t.last = read
	return nil
}

// readDropped reads the counters of chains whose rules are known.
func readDropped(s *socket, chains []countedChain) (state.Dropped, error) {
	var dropped state.Dropped
	for _, c := range chains {
		packets, err := s.packets(c.table, c.name)
		if err != nil {
			return dropped, fmt.Errorf("read the counters of %s in %s: %w", c.name, c.table, err)
		}
		if len(packets) != len(c.statements) {
			return dropped, fmt.Errorf("%s in %s has %d rules, and had %d", c.name, c.table, len(packets), len(c.statements))
		}
		for i, n := range packets {
			dropped.Add(c.statements[i].Op, n)
		}
	}
	return dropped, nil
}

// isDrop reports whether state.Dropped has what a rule of an operation drops.
func isDrop(op state.Op) bool {
	var dropped state.Dropped
	dropped.Add(op, 1)
	return dropped != state.Dropped{}
}
