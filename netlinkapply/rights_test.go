package netlinkapply

import (
	"os"
	"strings"
	"testing"

	"github.com/spanmesh/span/reconciler/condition"
)

func TestRightsOfAStatus(t *testing.T) {
	const status = "Name:\tspanctl\nUid:\t0\t0\t0\t0\nCapInh:\t0000000000000000\nCapPrm:\t%s\nCapEff:\t%s\nCapBnd:\t%b\n"
	for name, c := range map[string]struct {
		effective, bounding string
		want                rights
	}{
		"root":                      {"000001ffffffffff", "000001ffffffffff", rights{admin: true, bounded: true}},
		"a user":                    {"0000000000000000", "000001ffffffffff", rights{bounded: true}},
		"docker's default":          {"00000000a80425fb", "00000000a80425fb", rights{}},
		"docker with NET_ADMIN":     {"00000000a80435fb", "00000000a80435fb", rights{admin: true, bounded: true}},
		"not a set of a kernel":     {"x", "", rights{}},
		"bounded, raised by nobody": {"0000000000000400", "0000000000001000", rights{bounded: true}},
	} {
		text := strings.NewReplacer("%s", c.effective, "%b", c.bounding).Replace(status)
		if got := parseRights(text); got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
	if isInner("         0          0 4294967295\n") || !isInner("         0       1000          1\n") || !isInner("") {
		t.Error("the initial user namespace is not told from others")
	}
}

// TestRightsOfThisProcess compares what is read with what the process can do: it runs as root of
// its network namespace.
func TestRightsOfThisProcess(t *testing.T) {
	r := readRights()
	if !r.admin || !r.bounded || r.root != (os.Geteuid() == 0) {
		t.Errorf("got %+v", r)
	}
}

func TestNotPermittedNamesWhatHelps(t *testing.T) {
	for name, c := range map[string]struct {
		rights        rights
		cause, remedy string
	}{
		"an ordinary user":                  {rights{bounded: true}, "CAP_NET_ADMIN is missing", "as root"},
		"root of a container":               {rights{root: true}, "kept from this container", "--cap-add NET_ADMIN"},
		"root of another user namespace":    {rights{admin: true, bounded: true, root: true, inner: true}, "another user namespace", "network of its own"},
		"a security module or a filter":     {rights{admin: true, bounded: true, root: true}, "although CAP_NET_ADMIN is there", "ausearch"},
		"root that has dropped it for once": {rights{root: true, bounded: true}, "CAP_NET_ADMIN is missing", "as root"},
	} {
		got := notPermitted(c.rights)
		if got.Code != condition.NotPermitted || !strings.Contains(got.Cause, c.cause) || !strings.Contains(got.Remedy, c.remedy) {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}
