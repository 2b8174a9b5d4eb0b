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
	want := PortOwner{Found: true, Name: strings.TrimSpace(string(comm)), PID: os.Getpid()}
	if got := FindPortOwner(port); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if got := FindPortOwner(port); got != (PortOwner{}) {
		t.Errorf("after it was closed: %+v", got)
	}
}

func TestPortTakenNamesTheOwner(t *testing.T) {
	for _, c := range []struct {
		owner PortOwner
		want  string
	}{
		{PortOwner{Found: true, Name: "wg-quick", PID: 812}, "in use by another program: wg-quick, process 812"},
		{PortOwner{Found: true, Kernel: true}, "link in the kernel"},
		{PortOwner{Found: true}, "cannot be seen from here"},
		{PortOwner{}, "another network namespace"},
	} {
		got := portTaken(51820, c.owner)
		if got.Code != condition.PortTaken || !strings.Contains(got.Cause, c.want) || !strings.Contains(got.Remedy, "listenPort") {
			t.Errorf("%s: got %s", fmt.Sprintf("%+v", c.owner), got)
		}
	}
}
