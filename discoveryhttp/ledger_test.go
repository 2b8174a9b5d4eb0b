package discoveryhttp

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/spanmesh/span/discoveryhttp/payload"
)

// at returns the sequence of a publication some time after start.
func at(after time.Duration) payload.Sequence { return payload.SequenceAt(start.Add(after)) }

func TestOlderCopiesAreRefused(t *testing.T) {
	type step struct {
		after    time.Duration
		sequence payload.Sequence
		refused  bool
	}
	const day = 24 * time.Hour
	for name, steps := range map[string][]step{
		"the same copy again":              {{0, at(0), false}, {time.Second, at(0), false}},
		"a newer copy":                     {{0, at(0), false}, {time.Second, at(time.Second), false}},
		"an older copy":                    {{0, at(0), false}, {time.Second, at(-time.Millisecond), true}, {29 * day, at(-time.Millisecond), true}},
		"an older copy after its age":      {{0, at(0), false}, {30 * day, at(-time.Millisecond), false}, {30*day + 1, at(0), false}},
		"no sequences":                     {{0, 0, false}, {time.Second, 0, false}},
		"the first sequence":               {{0, 0, false}, {time.Second, at(0), false}, {2 * time.Second, 0, true}},
		"a downgrade":                      {{0, at(0), false}, {29 * time.Minute, 0, true}, {30 * time.Minute, 0, false}, {31 * time.Minute, at(-day), false}},
		"a clock that was ahead":           {{0, at(300 * day), false}, {29 * time.Minute, at(0), true}, {30 * time.Minute, at(0), false}},
		"a clock that was ahead a little":  {{0, at(9 * time.Minute), false}, {40 * time.Minute, at(8 * time.Minute), true}},
		"a clock that was ahead, numbered": {{0, at(300 * day), false}, {time.Second, at(300*day) + 1, false}, {2 * time.Second, at(300 * day), true}},
		"a clock that is behind":           {{0, at(-300 * day), false}, {time.Second, at(-299 * day), false}, {time.Second, at(-300 * day), true}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLedger(nil, start)
			for i, s := range steps {
				err := l.check(start.Add(s.after), "a", s.sequence)
				if (err != nil) != s.refused {
					t.Errorf("step %d: %v, want refused %v", i, err, s.refused)
				}
				// The process is restarted.
				l = restarted(t, l, start.Add(s.after))
			}
		})
	}
}

// restarted returns the ledger of the next process.
func restarted(t *testing.T, l *ledger, now time.Time) *ledger {
	t.Helper()
	data, err := encodeCache(nil, cacheRest{Newest: l.content(now)})
	if err != nil {
		t.Fatal(err)
	}
	cached, err := decodeCache(data)
	if err != nil {
		t.Fatal(err)
	}
	return newLedger(cached.Newest, now)
}

// A machine that is quiet for a day is not older than its newest copy.
func TestAgeBeginsWhenTheNewestCopyIsGone(t *testing.T) {
	l := newLedger(nil, start)
	_ = l.check(start, "a", at(0))
	l.confirm(start.Add(24*time.Hour), "a", at(0))
	l.confirm(start.Add(25*time.Hour), "a", at(-time.Millisecond)) // not the newest
	if err := l.check(start.Add(24*time.Hour+doubtAge-1), "a", 0); err == nil {
		t.Error("a copy without a sequence was accepted")
	}
	if err := l.check(start.Add(24*time.Hour+doubtAge), "a", 0); err != nil {
		t.Error(err)
	}
}

func TestLedgerIsBounded(t *testing.T) {
	l := newLedger(nil, start)
	for i := range ledgerSize + 10 {
		_ = l.check(start.Add(time.Duration(i)), fmt.Sprint(i), at(0))
	}
	if n := len(l.entries); n != ledgerSize {
		t.Errorf("%d entries, want %d", n, ledgerSize)
	}
	if err := l.check(start.Add(time.Minute), "9", at(-time.Millisecond)); err != nil {
		t.Error("the machine that was seen least recently is remembered")
	}
	if err := l.check(start.Add(time.Minute), fmt.Sprint(ledgerSize), at(-time.Millisecond)); err == nil {
		t.Error("a machine that was seen lately is forgotten")
	}
	if n := len(l.content(start.Add(ledgerAge + time.Hour))); n != 0 {
		t.Errorf("%d entries are kept for ever", n)
	}
}

func TestClockThatWasSetBackKeepsNoEntryForEver(t *testing.T) {
	l := newLedger(map[string]ledgerEntry{"a": {at(0), start.Add(1000 * time.Hour)}}, start)
	if err := l.check(start.Add(ledgerAge), "a", at(-time.Millisecond)); err != nil {
		t.Error(err)
	}
}

func TestCacheOfAnEarlierVersion(t *testing.T) {
	cached, err := decodeCache([]byte(`[{"affiliate":{"nodeId":"a"},"lastSeen":"2026-01-01T00:00:00Z"}]`))
	if err != nil {
		t.Fatal(err)
	}
	if len(cached.Affiliates) != 1 || cached.Affiliates[0].Affiliate.NodeID != "a" {
		t.Errorf("the cache has %+v", cached)
	}
	if _, err := decodeCache([]byte(`"garbage"`)); err == nil {
		t.Error("garbage was read")
	}
}

func TestSequencesFollowTheTimeAndAlwaysGrow(t *testing.T) {
	n := newNumbering(0)
	first := n.next(start)
	if first.Sequence != at(0) {
		t.Errorf("the first sequence is %d, want %d", first.Sequence, at(0))
	}
	for name, next := range map[string]payload.Sequence{
		"in the same microsecond": n.next(start).Sequence, "after the clock was set back": n.next(start.Add(-time.Hour)).Sequence,
	} {
		if next <= first.Sequence {
			t.Errorf("%s: %d after %d", name, next, first.Sequence)
		}
	}
	if again := newNumbering(n.last); again.next(start.Add(-time.Hour)).Sequence <= n.last {
		t.Error("the next process starts before the last one")
	}
	if other := newNumbering(0); other.instance == n.instance {
		t.Error("two processes have one instance")
	}
	if !n.learn(at(time.Hour)) || n.learn(at(time.Minute)) || n.next(start).Sequence != at(time.Hour)+1 {
		t.Errorf("the sequence after a larger one of another machine is %d", n.last)
	}
}

// The machine publishes itself with a clock that is behind, which is set right then.
func TestClockThatIsSetRightGivesANewNumber(t *testing.T) {
	c, err := NewClient(Options{Endpoints: []string{"http://127.0.0.1:1"}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	p := &publication{}
	if err := c.seal(p); err != nil {
		t.Fatal(err)
	}
	first, sealed := p.sequence, string(p.sealed)
	if err := c.seal(p); err != nil || p.sequence != first || string(p.sealed) != sealed {
		t.Errorf("sealed twice: %v", err)
	}
	p.made = p.made.Add(-time.Hour)
	if err := c.seal(p); err != nil || p.sequence <= first || string(p.sealed) == sealed {
		t.Errorf("the number is %d after %d, %v", p.sequence, first, err)
	}
}

func TestRivalsEnd(t *testing.T) {
	n := newNumbering(0)
	for i := range byte(maxRivals + 3) {
		n.noteRival(start, *named("a").Affiliate, payload.Instance{i})
	}
	n.noteRival(start.Add(time.Minute), *named("a").Affiliate, payload.Instance{1})
	if len(n.rivals) != maxRivals {
		t.Errorf("%d rivals are remembered", len(n.rivals))
	}
	if n.expireRivals(start.Add(rivalAge-1)) || !n.expireRivals(start.Add(rivalAge)) || len(n.rivals) != 1 {
		t.Errorf("left are %v", n.rivals)
	}
}
