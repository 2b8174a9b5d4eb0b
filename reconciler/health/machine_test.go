package health

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/spanmesh/span/reconciler/condition"
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
	s := Snapshot{Started: start, Converged: true, Offline: []string{"eth0 has no carrier", "wlan0 is down"},
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
	s.Offline = []string{"a", "b", "c", "d", "e", "f"}
	if found = Assess(start, s, found); !strings.HasSuffix(Shown(found)[0].Cause, "a, b, c, d, and so on for 2 more") {
		t.Errorf("many links are %+v", found)
	}
}
