package netlinkapply

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spanmesh/span/reconciler/condition"
)

func TestSocketsOfATable(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  320: 00000000:CA6C 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 0 2 0000000000000000 0
  320: 0100007F:CA6C 00000000:0000 07 00000000:00000000 00:00000000 00000000  1000        0 48211 2 0000000000000000 0
  591: 00000000:006C 0100007F:CA6C 01 00000000:00000000 00:00000000 00000000     0        0 500 2 0000000000000000 0
  cut: 00000000:CA6C
`
	if got := socketsAt(table, 51820); !slices.Equal(got, []string{"0", "48211"}) {
		t.Errorf("got %q", got)
	}
}

func TestOwnerOfAPortIsFound(t *testing.T) {
	conn, err := net.ListenPacket("udp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	port := conn.LocalAddr().(*net.UDPAddr).Port
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	want := owner{found: true, name: strings.TrimSpace(string(comm)), pid: os.Getpid()}
	if got := findOwner(port); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if got := findOwner(port); got != (owner{}) {
		t.Errorf("after it was closed: %+v", got)
	}
}

func TestPortTakenNamesTheOwner(t *testing.T) {
	for _, c := range []struct {
		owner owner
		want  string
	}{
		{owner{found: true, name: "wg-quick", pid: 812}, "in use by another program: wg-quick, process 812"},
		{owner{found: true, kernel: true}, "link in the kernel"},
		{owner{found: true}, "cannot be seen from here"},
		{owner{}, "another network namespace"},
	} {
		got := portTaken(51820, c.owner)
		if got.Code != condition.PortTaken || !strings.Contains(got.Cause, c.want) || !strings.Contains(got.Remedy, "listenPort") {
			t.Errorf("%s: got %s", fmt.Sprintf("%+v", c.owner), got)
		}
	}
}
