package health

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/mesh"
)

func TestFailingPassIsNamed(t *testing.T) {
	taken := condition.Condition{Code: condition.PortTaken, Cause: "UDP port 51820 is in use"}
	for name, c := range map[string]struct {
		failure Failure
		code    condition.Code
		cause   string
		remedy  string
	}{
		"an error with a code of its own": {Failure{Change: "+ link kubespan", Err: fmt.Errorf("bind: %w", &condition.Error{Condition: taken}), Times: 3},
			condition.PortTaken, taken.Cause, ""},
		"an error of the kernel": {Failure{Change: "+ route 10.0.0.0/8", Err: fmt.Errorf("add: %w", syscall.ENOMEM), Times: 12},
			condition.PassFailing, "+ route 10.0.0.0/8: add: cannot allocate memory, 12 times", "free memory"},
		"settings that are read-only": {Failure{Change: "~ rp_filter", Err: &os.PathError{Op: "open", Path: "/proc/sys/x", Err: syscall.EROFS}, Times: 1},
			condition.PassFailing, "~ rp_filter: open /proc/sys/x: read-only file system, once", "outside of the container"},
		"an answer that does not come": {Failure{Change: "+ peer a", Err: fmt.Errorf("read: %w", os.ErrDeadlineExceeded), Times: 1},
			condition.PassFailing, "+ peer a: read: i/o timeout, once", "does not answer"},
		"one of no class, before any change": {Failure{Err: errors.New("answer not understood"), Times: 2},
			condition.PassFailing, "answer not understood, 2 times", "restart the agent"},
	} {
		t.Run(name, func(t *testing.T) {
			found := Assess(start, Snapshot{Started: start, Failure: &c.failure}, nil)
			if len(found) != 1 || found[0].Code != c.code || found[0].Cause != c.cause || !strings.Contains(found[0].Remedy, c.remedy) {
				t.Fatalf("got %+v", found)
			}
			if r := Summarize(start, Snapshot{Started: start, Failure: &c.failure}, found); r.State != Broken || r.Ready {
				t.Errorf("the machine is %+v", r)
			}
		})
	}
	if found := Assess(start, Snapshot{Started: start}, nil); len(found) != 0 {
		t.Errorf("without a failure there is %+v", found)
	}
}

func TestEachErrnoHasARemedy(t *testing.T) {
	for n := syscall.Errno(1); n < 134; n++ {
		if remedyOf(fmt.Errorf("change: %w", n)) == "" {
			t.Errorf("%v has none", n)
		}
	}
}

func TestNetworkDownHidesWhatFollows(t *testing.T) {
	s := Snapshot{Started: start, Converged: true, Offline: []mesh.OfflineLink{{Name: "eth0", Why: mesh.NoCarrier}, {Name: "wlan0", Why: mesh.LinkDown}},
		Found: []condition.Condition{{Code: condition.DiscoveryUnreachable}}}
	found := Assess(start, s, nil)
	shown := Shown(found)
	if len(shown) != 1 || shown[0].Code != condition.NetworkDown || !strings.HasSuffix(shown[0].Cause, "eth0 has no carrier, wlan0 is down") {
		t.Fatalf("got %+v", found)
	}
	s.Offline = nil
	if found = Assess(start, s, found); len(found) != 1 || found[0].Code != condition.DiscoveryUnreachable {
		t.Errorf("with a link there is %+v", found)
	}
	s.Offline = nil
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		s.Offline = append(s.Offline, mesh.OfflineLink{Name: name, Why: mesh.LinkDown})
	}
	if found = Assess(start, s, found); !strings.HasSuffix(Shown(found)[0].Cause, "a is down, b is down, c is down, d is down, and so on for 2 more") {
		t.Errorf("many links are %+v", found)
	}
}

func TestNetworkRemedyIsByTheReason(t *testing.T) {
	const program = "see to the program that configures the network"
	for _, c := range []struct {
		links []mesh.OfflineLink
		want  string
	}{
		{[]mesh.OfflineLink{{}}, program},
		{[]mesh.OfflineLink{{Name: "eth0", Why: mesh.LinkDown}}, "set it up: `ip link set eth0 up`, or " + program},
		{[]mesh.OfflineLink{{Name: "eth0", Why: mesh.NoCarrier}}, "plug in eth0, or " + program},
		{[]mesh.OfflineLink{{Name: "eth0", Why: mesh.NoAddress}}, "give it an address: `ip address add ADDRESS/LENGTH dev eth0`, or by DHCP, or " + program},
		{[]mesh.OfflineLink{{Name: "eth0", Why: mesh.NoCarrier}, {Name: "wlan0", Why: mesh.LinkDown}}, "plug in eth0, or set it up: `ip link set wlan0 up`, or " + program},
	} {
		if got := networkRemedy(c.links); got != c.want {
			t.Errorf("%v: %q, want %q", c.links, got, c.want)
		}
	}
}
