package main

import (
	"math"
	"slices"
	"strings"
	"testing"
)

// measured is a run of 5,000 machines.
func measured() *record {
	return &record{Machines: 5000, Whole: 50, Store: "memory", Cores: 2, Go: "go1", Phases: []phaseRecord{
		{Name: storm, Lasted: 40, Known: 40, Server: 15, Most: 400 << 20, Read: 25_000_000 * 350},
		{Name: rest, Lasted: 30, Known: 30, Wholes: 15, Heap: 50 * 4999 * 3000},
		{Name: churn, Lasted: 40, Known: 1, Server: 20, Wholes: 85, Messages: 400_000, Affiliates: 3_000_000},
	}}
}

func TestTargets(t *testing.T) {
	r := measured()
	if got := r.missed(); !slices.Equal(got, []string{"heap of an agent for each peer, bytes"}) {
		t.Errorf("missed: %q", got)
	}
	r.Phases[0].Known, r.Phases[2].Faults = 61, []string{"the pace was not kept"}
	if got := r.missed(); len(got) != 3 || !strings.HasPrefix(got[0], "all join") || got[2] != "churn: the pace was not kept" {
		t.Errorf("missed: %q", got)
	}
	r.Machines = 500
	if got := r.missed(); len(got) != 1 {
		t.Errorf("with 500 machines, for which no target is: %q", got)
	}
	r = &record{Machines: 5000}
	if got := r.missed(); len(got) != 0 {
		t.Errorf("without a phase: %q", got)
	}
}

func TestTables(t *testing.T) {
	text := measured().tables()
	for _, want := range []string{
		"5000 machines, 50 of them whole; store memory",
		"| storm | 40.0 | 40.0 | 0.0 | 15.00 | 38 % | 400 | 0 | 0 | 8344.7 | 0.00 % | 0.38 | 0 |",
		"| churn | 40.0 | 1.0 | 0.0 | 20.00 | 50 % | 0 | 400,000 | 3,000,000 | 0.0 | 4.25 % | 2.62 | 0 |",
		"| all join: s until all know all | 40.0 | at most 60 | met |",
		"| heap of an agent for each peer, bytes | 3000.0 | at most 2000 | missed |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the tables lack %q:\n%s", want, text)
		}
	}
}

func TestNumbers(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000", -100: "-100"} {
		if got := grouped(n); got != want {
			t.Errorf("grouped(%d): %s", n, got)
		}
	}
	for v, want := range map[float64]string{0: "0.00 %", 0.0123: "1.23 %", 0.5: "50 %", 3: "300 %"} {
		if got := percent(v); got != want {
			t.Errorf("percent(%v): %s", v, got)
		}
	}
}

// near reports whether a value is what is wanted, to a part in a thousand.
func near(got, want float64) bool { return math.Abs(got-want) <= math.Abs(want)/1000 }

func TestCosts(t *testing.T) {
	c := costsOf(measured())
	perMessage := (20 - 15./25e6*3e6*5000/4950) / (4e5 * 5000 / 4950)
	atRest := 15. / 30 / 50 / 4999
	perChange := (85./50 - 0.01*40) / (5000 * 0.1 / 60 * 2 * churnLasts.Seconds())
	for _, test := range []struct {
		name      string
		got, want float64
	}{
		{"bytes of an affiliate", c.affiliateBytes, 350},
		{"delivery of an affiliate", c.perAffiliate, 0.6e-6},
		{"a message beside it", c.perMessage, perMessage},
		{"heap", c.heap, 3000},
		{"an agent at rest", c.atRest, atRest},
		{"an agent's work for a change", c.perChange, perChange},
		{"memory of a machine", c.connection, (400 - 37) * mebibyte / 5000},
	} {
		if !near(test.got, test.want) {
			t.Errorf("%s: %v, want %v", test.name, test.got, test.want)
		}
	}
	if costsOf(&record{Machines: 20}) != (costs{}) {
		t.Error("costs of a run without phases")
	}
}

func TestBills(t *testing.T) {
	c := costs{affiliateBytes: 350, perAffiliate: 1e-6, perMessage: 20e-6, heap: 2000, perChange: 1e-3, atRest: 1e-6, connection: 64 << 10}
	full, apart := c.bill(designs()[0], 100_000), c.bill(designs()[1], 100_000)
	for _, test := range []struct {
		name      string
		got, want float64
	}{
		{"changes that each hears of in a full mesh", full.changes, 100_000 * 0.1 / 60 * 2},
		{"deliveries", full.deliveries, 100_000 * full.changes},
		{"keepalives", full.keepalives, 4000},
		{"handshakes", full.handshakes, 833.3},
		{"bytes to join", full.joinBytes, 35e6},
		{"cores", full.cores, full.deliveries*1e-6 + 100_000*4*20e-6},
		{"an agent, of a core", full.agent, full.changes*1e-3 + 0.1},
		{"peers of a machine at a location", apart.tunnels, 1200},
		{"machines of its server", apart.memory, serverAtStart + 1000*(64<<10)},
		{"changes that it hears of", apart.changes, 4},
	} {
		if !near(test.got, test.want) {
			t.Errorf("%s: %v, want %v", test.name, test.got, test.want)
		}
	}
	if got := inLocations(800); got != 800 {
		t.Errorf("800 machines are one location: %v peers", got)
	}
	if got := inUserspace(full); !strings.Contains(got, "refuses") {
		t.Errorf("wireguard-go with 100,000 peers: %s", got)
	}
	if text := c.tables(); strings.Count(text, "\n| ") < 20 || strings.Contains(text, "NaN") {
		t.Errorf("tables:\n%s", text)
	}
}
