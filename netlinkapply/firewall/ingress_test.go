package firewall

import (
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

func TestDropsUDP(t *testing.T) {
	udp := []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, equals([]byte{17})}
	tcp := []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, equals([]byte{6})}
	to := []expr.Any{transport(2, 2), equals([]byte{0xca, 0x6c})} // 51820
	other := []expr.Any{transport(2, 2), equals([]byte{0, 53})}
	from := []expr.Any{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4}, equals([]byte{10, 0, 0, 1})}
	counted := []expr.Any{&expr.Counter{}}
	for _, c := range []struct {
		name   string
		rules  [][]expr.Any
		policy bool
		want   bool
	}{
		{"none", nil, false, false},
		{"the policy", nil, true, true},
		{"all", [][]expr.Any{{drop()}}, false, true},
		{"the port", [][]expr.Any{join(udp, to, counted, drop())}, false, true},
		{"another port", [][]expr.Any{join(udp, other, drop())}, false, false},
		{"another protocol", [][]expr.Any{join(tcp, to, drop())}, false, false},
		{"from one host", [][]expr.Any{join(udp, to, from, drop())}, false, false},
		{"let through before", [][]expr.Any{join(udp, to, accept()), {drop()}}, false, false},
		{"let through from one host before", [][]expr.Any{join(from, accept()), {drop()}}, true, false},
		{"another port let through from one host before", [][]expr.Any{join(from, udp, other, accept()), {drop()}}, false, true},
		{"another let through before", [][]expr.Any{join(udp, other, accept())}, true, true},
		{"counted before", [][]expr.Any{join(udp, to, counted), join(udp, drop())}, false, true},
	} {
		var rules []*nftables.Rule
		for _, e := range c.rules {
			rules = append(rules, &nftables.Rule{Exprs: e})
		}
		if got := dropsUDP(rules, c.policy, 51820); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
