package trouble

import (
	"slices"
	"strings"
	"testing"
)

func TestEachFaultIsPicked(t *testing.T) {
	n := uint64(len(Faults))
	for round := range uint64(3) {
		picked := map[string]bool{}
		for seed := round * n; seed < (round+1)*n; seed++ {
			c := Pick(seed)
			picked[c.Fault.Name] = true
			if again := Pick(seed); again.String() != c.String() || c.On == c.Other || !slices.Contains(c.Fault.Variants, c.Variant) {
				t.Errorf("the number %d is %s, and then %s", seed, c, again)
			}
		}
		if len(picked) != len(Faults) {
			t.Errorf("%d numbers from %d on have %d of the %d faults", n, round*n, len(picked), len(Faults))
		}
	}
}

func TestJudge(t *testing.T) {
	down := Condition{Code: "PeerDown", Severity: "warning", Subject: "node-2", Cause: "silent since 9", Remedy: "check that node-2 runs"}
	sign := Sign{Subject: "node-2", Texts: []string{"silent", "node-2 runs"}, Exit: 1}
	with := func(conditions ...Condition) Status { return Status{Conditions: conditions} }
	other := down
	other.Subject = "node-3"
	hint := Condition{Code: "DiscoveryPlain", Severity: "info"}
	blocked := Condition{Code: "UDPBlocked", Severity: "error"}
	besides, another, mute := sign, sign, sign
	besides.Besides, besides.Exit = []string{"UDPBlocked"}, 2
	another.Texts = []string{"since 10"}
	mute.Subject = anySubject
	for _, test := range []struct {
		name   string
		sign   Sign
		status Status
		exit   int
		want   []string
	}{
		{"named", sign, with(down, hint), 1, nil},
		{"not named", sign, with(hint), 0, []string{"is not named", "the exit status is 0, want 1"}},
		{"about another", sign, with(other), 1, []string{"is not named", "this is wrong: warning PeerDown"}},
		{"about any", mute, with(other), 1, nil},
		{"without a fact", another, with(down), 1, []string{`"since 10" is not in`}},
		{"with what is wrong", sign, with(down, blocked), 2, []string{"this is wrong: error UDPBlocked", "the exit status is 2, want 1"}},
		{"with what is true as well", besides, with(down, blocked), 2, nil},
	} {
		got := Judge("PeerDown", test.sign, test.status, test.exit)
		if !slices.EqualFunc(got, test.want, strings.Contains) {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

func TestBrokenConfigs(t *testing.T) {
	config := "machine: network: kubespan: {\n\tenabled: true\n}\ncluster: {\n\tid: \"AAAA\"\n\tsecret: \"BBBBCCCC=\"\n}\n"
	all := map[string]bool{config: true}
	for _, broken := range BrokenConfigs(config) {
		if all[broken] {
			t.Errorf("this is there twice, or is the config itself:\n%s", broken)
		}
		all[broken] = true
	}
	if cut := withCutSecret(config); cut != strings.Replace(config, "BBBB", "BBB", 1) {
		t.Errorf("with its secret cut, it is\n%s", cut)
	}
}
