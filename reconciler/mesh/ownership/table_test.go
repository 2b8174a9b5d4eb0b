package ownership

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/spanmesh/span/reconciler/mesh"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// input is what owners follow from.
type input struct {
	claims    map[mesh.Key][]mesh.Claim
	states    map[mesh.Key]State
	firstSeen map[mesh.Key]time.Time
	owners    map[netip.Prefix]mesh.Key
}

// reference returns the owners by the definition, slowly.
func reference(in input) map[netip.Prefix]mesh.Key {
	type candidate struct {
		mesh.Claim
		key mesh.Key
	}
	byPrefix := map[netip.Prefix][]candidate{}
	for key, list := range in.claims {
		for _, c := range list {
			byPrefix[c.Prefix] = append(byPrefix[c.Prefix], candidate{c, key})
		}
	}
	owners := map[netip.Prefix]mesh.Key{}
	for prefix, list := range byPrefix {
		keep := func(better func(a, b candidate) bool) {
			list = slices.DeleteFunc(slices.Clone(list), func(c candidate) bool {
				return slices.ContainsFunc(list, func(other candidate) bool { return better(other, c) })
			})
		}
		keep(func(a, b candidate) bool { return a.Length > b.Length })
		static := func(c candidate) bool { return c.Static && (!c.Shared || in.states[c.key] == Up) }
		rank := func(c candidate) mesh.ClaimRank {
			if c.Shared {
				return mesh.RankNetwork
			}
			return c.Rank
		}
		keep(func(a, b candidate) bool { return static(a) && !static(b) })
		fixed := func(c candidate) bool { return c.Static && !c.Shared }
		keep(func(a, b candidate) bool { return fixed(a) && !fixed(b) })
		keep(func(a, b candidate) bool { return rank(a) < rank(b) })
		keep(func(a, b candidate) bool { return in.states[a.key] > in.states[b.key] })
		present := in.owners[prefix]
		keep(func(a, b candidate) bool { return a.key == present && b.key != present })
		keep(func(a, b candidate) bool { return in.firstSeen[a.key].After(in.firstSeen[b.key]) })
		keep(func(a, b candidate) bool { return a.key.Compare(b.key) < 0 })
		owners[prefix] = list[0].key
	}
	return owners
}

// owners returns the owner of each prefix of a table.
func (t *Table) owners() map[netip.Prefix]mesh.Key {
	owners := map[netip.Prefix]mesh.Key{}
	for key := range t.claimants {
		for _, prefix := range t.Owned(key) {
			owners[prefix] = key
		}
	}
	return owners
}

// world changes claims and states at random.
type world struct {
	*rand.Rand
	input
}

func newWorld(seed uint64) *world {
	return &world{rand.New(rand.NewPCG(seed, 1)), input{map[mesh.Key][]mesh.Claim{}, map[mesh.Key]State{}, map[mesh.Key]time.Time{}, map[netip.Prefix]mesh.Key{}}}
}

// randomClaims returns claims on few prefixes, so that many are equal.
func (w *world) randomClaims() []mesh.Claim {
	var claims []mesh.Claim
	for range w.IntN(5) {
		p, _ := netip.AddrFrom4([4]byte{10, 0, 0, byte(w.IntN(4))}).Prefix(30 + w.IntN(3))
		c := mesh.Claim{Prefix: p, Rank: mesh.ClaimRank(w.IntN(3)), Static: w.IntN(4) == 0, Length: uint8(p.Bits())}
		c.Shared = c.Static && w.IntN(2) == 0
		if w.IntN(4) == 0 {
			c.Length = 24
		}
		claims = append(claims, c)
	}
	slices.SortFunc(claims, func(a, b mesh.Claim) int { return mesh.ComparePrefixes(a.Prefix, b.Prefix) })
	return slices.CompactFunc(claims, func(a, b mesh.Claim) bool { return a.Prefix == b.Prefix })
}

// change makes some changes to the input, and returns them as operations on a table.
func (w *world) change(now time.Time) (operations []func(*Table)) {
	for _, n := range w.Perm(6)[:1+w.IntN(3)] { // each claimant once: its own changes have an order
		key := mesh.Key{byte(1 + n)}
		_, present := w.claims[key]
		switch {
		case present && w.IntN(4) == 0:
			delete(w.claims, key)
			delete(w.states, key)
			delete(w.firstSeen, key)
			operations = append(operations, func(t *Table) { t.Remove(key) })
		case present && w.IntN(2) == 0:
			state := State(w.IntN(3))
			w.states[key] = state
			operations = append(operations, func(t *Table) { t.SetState(key, state) })
		default:
			claims := w.randomClaims()
			if w.claims[key] = claims; !present {
				w.states[key], w.firstSeen[key] = Unknown, now
			}
			operations = append(operations, func(t *Table) { t.Set(key, now, claims) })
		}
	}
	return operations
}

// fromScratch returns a table of the input, which was filled in a random order.
func (w *world) fromScratch() *Table {
	t := &Table{}
	for prefix, key := range w.owners {
		t.Restore(prefix, key)
	}
	for key, claims := range w.claims { // in Go's random order
		t.Set(key, w.firstSeen[key], claims)
		t.SetState(key, w.states[key])
	}
	return t
}

// TestOwnersAreThoseOfTheDefinition changes a table at random, in any order, and compares it
// with the definition and with one from scratch.
func TestOwnersAreThoseOfTheDefinition(t *testing.T) {
	for seed := range uint64(100) {
		w := newWorld(seed)
		table, other := &Table{}, &Table{}
		for step := range 40 {
			now := start.Add(time.Duration(step/2) * time.Second)
			before := table.owners()
			operations := w.change(now)
			want := reference(w.input)
			scratch := w.fromScratch()
			for _, do := range operations {
				do(table)
			}
			w.Shuffle(len(operations), func(i, j int) { operations[i], operations[j] = operations[j], operations[i] })
			for _, do := range operations {
				do(other)
			}
			clone := table.Clone()
			moves := table.Resolve()
			other.Resolve()
			scratch.Resolve()
			clone.Resolve()
			for name, got := range map[string]*Table{"changed": table, "changed in another order": other, "from scratch": scratch, "cloned": clone} {
				if diff := cmp.Diff(want, got.owners(), cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
					t.Fatalf("seed %d, step %d: the table %s (-want +got):\n%s", seed, step, name, diff)
				}
			}
			for _, m := range moves {
				if before[m.Prefix] != m.From || want[m.Prefix] != m.To || m.From == m.To {
					t.Fatalf("seed %d, step %d: %+v, of %v to %v", seed, step, m, before, want)
				}
				delete(before, m.Prefix)
				delete(want, m.Prefix)
			}
			if diff := cmp.Diff(before, want, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
				t.Fatalf("seed %d, step %d: moved silently:\n%s", seed, step, diff)
			}
			w.owners = reference(w.input)
			// No flapping: nothing moves without a change.
			for key, claims := range w.claims {
				table.Set(key, now, claims)
				table.SetState(key, w.states[key])
			}
			if again := table.Resolve(); len(again) > 0 {
				t.Fatalf("seed %d, step %d: moved without a change: %v", seed, step, again)
			}
		}
	}
}

// TestEachRuleDecides has two claims that differ in what one rule looks at.
func TestEachRuleDecides(t *testing.T) {
	prefix := netip.MustParsePrefix("10.0.0.0/24")
	claim := mesh.Claim{Prefix: prefix, Rank: mesh.RankNetwork, Length: 24}
	type side struct {
		claim   mesh.Claim
		state   State
		present bool
		seen    time.Time
	}
	with := func(change func(*side)) side {
		s := side{claim: claim, state: Unknown, seen: start}
		change(&s)
		return s
	}
	plain := with(func(*side) {})
	for _, c := range []struct {
		rule          Rule
		winner, loser side
	}{
		{Longer, plain, with(func(s *side) { s.claim.Length, s.claim.Static, s.state, s.present = 16, true, Up, true })},
		{Static, with(func(s *side) { s.claim.Static, s.state = true, Down }), with(func(s *side) { s.claim.Rank, s.state = mesh.RankOwnAddress, Up })},
		{Rank, with(func(s *side) { s.claim.Rank, s.state = mesh.RankOwnAddress, Down }), with(func(s *side) { s.state, s.present = Up, true })},
		{ByState, with(func(s *side) { s.state = Up }), with(func(s *side) { s.present = true })},
		{ByState, plain, with(func(s *side) { s.state, s.present = Down, true })},
		{Present, with(func(s *side) { s.present = true }), with(func(s *side) { s.seen = start.Add(1) })},
		{FirstSeen, with(func(s *side) { s.seen = start.Add(1) }), plain},
		{ByKey, plain, plain},
	} {
		for _, swapped := range []bool{false, true} {
			if swapped && c.rule == ByKey {
				continue
			}
			t.Run(fmt.Sprint(c.rule, swapped), func(t *testing.T) {
				keys := []mesh.Key{{1}, {2}}
				if swapped {
					slices.Reverse(keys)
				}
				table := &Table{}
				for i, s := range []side{c.winner, c.loser} {
					if s.present {
						table.Restore(prefix, keys[i])
					}
				}
				for i, s := range []side{c.winner, c.loser} {
					table.Set(keys[i], s.seen, []mesh.Claim{s.claim})
					table.SetState(keys[i], s.state)
				}
				table.Resolve()
				contests := table.Contests()
				if len(contests) != 1 || contests[0].Owner.Key != keys[0] || contests[0].Others[0].Rule != c.rule {
					t.Errorf("the contest is %+v", contests)
				}
			})
		}
	}
}

// TestContested marks the owners that others could follow, and no others.
func TestContested(t *testing.T) {
	claims := func(list ...string) (out []mesh.Claim) {
		for _, text := range list {
			p := netip.MustParsePrefix(text)
			out = append(out, mesh.Claim{Prefix: p, Rank: mesh.RankNetwork, Length: uint8(p.Bits())})
		}
		return out
	}
	table := &Table{}
	table.Set(mesh.Key{1}, start, claims("10.0.0.0/24"))
	table.Set(mesh.Key{2}, start, claims("0.0.0.0/0", "10.0.0.0/25"))
	table.Set(mesh.Key{3}, start, claims("10.0.1.0/24"))
	table.Resolve()
	if got := table.Contested(); len(got) > 0 {
		t.Errorf("contested are %v, want none", got)
	}
	table.Set(mesh.Key{4}, start.Add(1), claims("10.0.0.0/24"))
	own := claims("10.0.1.0/24")
	own[0].Rank = mesh.RankMeshAddress
	table.Set(mesh.Key{5}, start.Add(1), own)
	if got := table.Challenged(); len(got) != 1 || !got[mesh.Key{1}] {
		t.Errorf("challenged are %v, want the first", got)
	}
	table.Resolve()
	if got := table.Contested(); len(got) != 1 || !got[mesh.Key{1}] {
		t.Errorf("contested are %v, want the first", got)
	}
	if got := table.Challenged(); len(got) > 0 {
		t.Errorf("challenged are %v, want none after Resolve", got)
	}
	table.SetState(mesh.Key{1}, Down)
	moves := table.Resolve()
	if want := []Move{{netip.MustParsePrefix("10.0.0.0/24"), mesh.Key{1}, mesh.Key{4}}}; !slices.Equal(moves, want) {
		t.Errorf("moved is %v, want %v", moves, want)
	}
}

// BenchmarkOwnership changes one of many peers: its state, and whether it claims a network
// that another one claims.
func BenchmarkOwnership(b *testing.B) {
	for _, n := range []int{100, 1000, 5000} {
		for name, everyone := range map[string]bool{"": false, "/one network of all": true} {
			b.Run(fmt.Sprintf("peers=%d%s", n, name), func(b *testing.B) {
				table := &Table{}
				for i := range n {
					table.Set(keyOf(i), start, manyClaims(i, i, everyone))
				}
				table.Resolve()
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					changed := i % n
					table.SetState(keyOf(changed), State(1+i/n%2))
					table.Set(keyOf(changed), start, manyClaims(changed, (changed+1)%n, everyone))
					table.Resolve()
					table.Set(keyOf(changed), start, manyClaims(changed, changed, everyone))
					table.Resolve()
				}
			})
		}
	}
}

func keyOf(i int) mesh.Key { return mesh.Key{byte(i >> 16), byte(i >> 8), byte(i), 1} }

// manyClaims returns three addresses of a peer and a network of a peer.
func manyClaims(of, network int, everyone bool) []mesh.Claim {
	at := func(a, b byte, i int) netip.Addr { return netip.AddrFrom4([4]byte{a, b, byte(i >> 8), byte(i)}) }
	var claims []mesh.Claim
	if everyone {
		claims = append(claims, mesh.Claim{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Rank: mesh.RankNetwork})
	}
	for _, a := range []netip.Addr{at(10, 0, of), at(172, 16, of), at(192, 168, of)} {
		claims = append(claims, mesh.Claim{Prefix: netip.PrefixFrom(a, 32), Rank: mesh.RankOwnAddress, Length: 32})
	}
	return append(claims, mesh.Claim{Prefix: netip.PrefixFrom(at(198, byte(network>>12), network<<4), 28), Rank: mesh.RankNetwork, Length: 28})
}
