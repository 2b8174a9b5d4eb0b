package firewall

import (
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/reconciler/state"
)

func TestParseGeneration(t *testing.T) {
	message := func(kind netlink.HeaderType, attributes ...netlink.Attribute) netlink.Message {
		data, err := netlink.MarshalAttributes(attributes)
		if err != nil {
			t.Fatal(err)
		}
		return netlink.Message{Header: netlink.Header{Type: kind}, Data: append(make([]byte, 4), data...)}
	}
	const kind = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWGEN
	id := func(data ...byte) netlink.Attribute { return netlink.Attribute{Type: unix.NFTA_GEN_ID, Data: data} }
	name := netlink.Attribute{Type: 3, Data: []byte("nft\x00")}
	for _, c := range []struct {
		name     string
		messages []netlink.Message
		want     uint32
	}{
		{"a generation", []netlink.Message{message(kind, id(0, 0, 1, 2), name)}, 0x102},
		{"after other attributes", []netlink.Message{message(kind, name, id(0xff, 0xff, 0xff, 0xff))}, 0xffffffff},
		{"after another message", []netlink.Message{message(unix.NLMSG_DONE), message(kind, id(0, 0, 0, 3))}, 3},
		{"no message", nil, 0},
		{"another message alone", []netlink.Message{message(kind-1, id(0, 0, 0, 3))}, 0},
		{"no attributes", []netlink.Message{message(kind)}, 0},
		{"other attributes alone", []netlink.Message{message(kind, name)}, 0},
		{"zero", []netlink.Message{message(kind, id(0, 0, 0, 0))}, 0},
		{"too short", []netlink.Message{message(kind, id(0, 1))}, 0},
		{"no header", []netlink.Message{{Header: netlink.Header{Type: kind}, Data: []byte{1}}}, 0},
		{"an attribute that is cut off", []netlink.Message{{Header: netlink.Header{Type: kind}, Data: []byte{0, 0, 0, 0, 20, 0, 1, 0, 1}}}, 0},
	} {
		got, err := parseGeneration(c.messages)
		if got != c.want || (err == nil) != (c.want != 0) {
			t.Errorf("%s: got %d, %v, want %d", c.name, got, err, c.want)
		}
	}
}

func TestParsePackets(t *testing.T) {
	list := func(attributes ...netlink.Attribute) []byte {
		data, err := netlink.MarshalAttributes(attributes)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	expression := func(name string, data ...netlink.Attribute) netlink.Attribute {
		return netlink.Attribute{Type: unix.NFTA_LIST_ELEM, Data: list(
			netlink.Attribute{Type: unix.NFTA_EXPR_NAME, Data: []byte(name + "\x00")}, netlink.Attribute{Type: unix.NFTA_EXPR_DATA, Data: list(data...)})}
	}
	rule := func(expressions ...netlink.Attribute) []byte {
		return list(netlink.Attribute{Type: unix.NFTA_RULE_TABLE, Data: []byte("t\x00")}, netlink.Attribute{Type: unix.NFTA_RULE_EXPRESSIONS, Data: list(expressions...)})
	}
	counter := func(packets ...byte) netlink.Attribute {
		return expression("counter", netlink.Attribute{Type: unix.NFTA_COUNTER_BYTES, Data: []byte{9, 9, 9, 9, 9, 9, 9, 9}},
			netlink.Attribute{Type: unix.NFTA_COUNTER_PACKETS, Data: packets})
	}
	verdict := netlink.Attribute{Type: unix.NFTA_LIST_ELEM, Data: list(netlink.Attribute{Type: unix.NFTA_EXPR_NAME, Data: []byte("notrack\x00")})}
	three := counter(0, 0, 0, 0, 0, 0, 1, 3)
	for _, c := range []struct {
		name string
		rule []byte
		want uint64
		bad  bool
	}{
		{name: "a counter", rule: rule(three), want: 0x103},
		{name: "among other expressions", rule: rule(expression("cmp", netlink.Attribute{Type: 2, Data: make([]byte, 8)}), verdict, three, verdict), want: 0x103},
		{name: "the first of two", rule: rule(three, counter(1, 0, 0, 0, 0, 0, 0, 0)), want: 0x103},
		{name: "no counter", rule: rule(verdict)},
		{name: "no expressions", rule: list(netlink.Attribute{Type: unix.NFTA_RULE_TABLE, Data: []byte("t\x00")})},
		{name: "nothing"},
		{name: "a short counter", rule: rule(counter(1)), bad: true},
		{name: "a counter without packets", rule: rule(expression("counter")), bad: true},
		{name: "cut off", rule: rule(three)[:13], bad: true},
		{name: "cut off in an expression", rule: rule(netlink.Attribute{Type: unix.NFTA_LIST_ELEM, Data: []byte{99, 0, 1, 0}}), bad: true},
	} {
		if got, err := parsePackets(c.rule); got != c.want || (err != nil) != c.bad {
			t.Errorf("%s: %d, %v, want %d", c.name, got, err, c.want)
		}
	}
}

func TestHolds(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	scope := state.Scope{LinkName: "kubespan", FirewallTable: "spanctl-kubespan"}
	last := reading{generation: 7, scope: scope, at: at}
	renamed := scope
	renamed.FormerLink = "wg0"
	for _, c := range []struct {
		name       string
		last       reading
		generation uint32
		scope      state.Scope
		now        time.Time
		want       bool
	}{
		{"the same", last, 7, scope, at.Add(time.Second), true},
		{"at the same time", last, 7, scope, at, true},
		{"just before its age", last, 7, scope, at.Add(maxAge - 1), true},
		{"too old", last, 7, scope, at.Add(maxAge), false},
		{"of the future, as the clock was set", last, 7, scope, at.Add(-time.Second), false},
		{"another generation", last, 8, scope, at, false},
		{"an earlier generation", last, 6, scope, at, false},
		{"another scope", last, 7, renamed, at, false},
		{"the present generation is unknown", last, 0, scope, at, false},
		{"nothing was read", reading{}, 0, state.Scope{}, time.Time{}, false},
		{"it changed while it was read", reading{scope: scope, at: at}, 7, scope, at, false},
	} {
		if got := c.last.holds(c.generation, c.scope, c.now); got != c.want {
			t.Errorf("%s: holds is %v", c.name, got)
		}
	}
}
