package relayprocess

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/netlinkapply/detached"
	"github.com/spanmesh/span/reconciler/mesh"
)

// TestMain runs the processes of these tests.
func TestMain(m *testing.M) {
	if len(os.Args) == 5 && os.Args[1] == Command {
		if err := Main(os.Args[2], os.Args[3], os.Args[4]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// freePort returns a UDP port that was free a moment ago.
func freePort(t *testing.T) uint16 {
	t.Helper()
	conn, err := net.ListenUDP("udp", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
}

func start(t *testing.T, dir string, port uint16) error {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = End(context.Background(), dir) })
	return Start(t.Context(), program, dir, port, 0)
}

func ask(t *testing.T, dir string, admit *Admission) State {
	t.Helper()
	state, err := Ask(t.Context(), dir, admit)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func TestRelayOutlivesItsStarter(t *testing.T) {
	t.Parallel()
	dir, port := filepath.Join(t.TempDir(), "relay"), freePort(t)
	if _, err := Ask(t.Context(), dir, nil); !errors.Is(err, ErrNone) {
		t.Errorf("before the start: %v", err)
	}
	if err := start(t, dir, port); err != nil {
		t.Fatal(err)
	}
	first := ask(t, dir, nil)
	if first.PID == os.Getpid() || first.Port != port || first.Key.IsZero() || first.Counts.Members != 0 {
		t.Errorf("the state is %+v", first)
	}
	if got := ask(t, dir, &Admission{Members: []mesh.Key{{1}, {2}, {3}}, WithoutAgent: []mesh.Key{{4}}}); got.Counts.Members != 3 || got.PID != first.PID {
		t.Errorf("after three were admitted: %+v", got)
	}
	if got := ask(t, dir, &Admission{Members: []mesh.Key{{2}, {5}}, Complete: true}); got.Counts.Members != 2 {
		t.Errorf("after one of them stayed, and another came: %d", got.Counts.Members)
	}
	for name, mode := range map[string]os.FileMode{"": 0o700, keyFile: 0o600, "control.sock": 0o600} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%q: %v %v", name, info, err)
		}
	}
	if err := End(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if err := start(t, dir, port); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, dir, nil); got.Key != first.Key || got.PID == first.PID || got.Counts.Members != 2 {
		t.Errorf("after another start: %+v", got)
	}
	if got := ask(t, dir, &Admission{}); got.Counts.Members != 2 {
		t.Errorf("after an agent's start that knows of nobody yet: %d", got.Counts.Members)
	}
	if got := ask(t, dir, &Admission{Members: []mesh.Key{{2}}, Complete: true}); got.Counts.Members != 1 {
		t.Errorf("after one has left before the relay's start: %d", got.Counts.Members)
	}
}

// TestBadKeysAreSkipped has a member that publishes the relay's key as its own, and a key that is none.
func TestBadKeysAreSkipped(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "relay")
	if err := start(t, dir, freePort(t)); err != nil {
		t.Fatal(err)
	}
	own := ask(t, dir, nil).Key
	got := ask(t, dir, &Admission{Members: []mesh.Key{own, {1}, {2}}, WithoutAgent: []mesh.Key{own, {3}}, Complete: true})
	if got.Counts.Members != 2 || got.Fault != "" {
		t.Errorf("beside its own key: %+v", got)
	}
	got = ask(t, dir, &Admission{Members: []mesh.Key{{}, {1}, {2}, {4}}, Complete: true})
	if got.Counts.Members != 3 || !strings.Contains(got.Fault, "1 of 4 members are not admitted") {
		t.Errorf("beside a key that is none: %+v", got)
	}
	if got := ask(t, dir, nil); got.Fault == "" {
		t.Error("the fault is forgotten")
	}
	if got := ask(t, dir, &Admission{Members: []mesh.Key{{1}}, Complete: true}); got.Counts.Members != 1 || got.Fault != "" {
		t.Errorf("after they have left: %+v", got)
	}
}

func TestWhoFollows(t *testing.T) {
	own := mesh.Key{9}
	before := Admission{Members: []mesh.Key{{1}, {2}}, WithoutAgent: []mesh.Key{{3}, {4}}}
	for name, c := range map[string]struct{ a, want Admission }{
		"complete":          {Admission{Members: []mesh.Key{{1}, {5}}, Complete: true}, Admission{Members: []mesh.Key{{1}, {5}}}},
		"incomplete":        {Admission{Members: []mesh.Key{{1}, {5}}}, Admission{Members: []mesh.Key{{1}, {5}, {2}}, WithoutAgent: []mesh.Key{{3}, {4}}}},
		"nobody yet":        {Admission{}, before},
		"one gets an agent": {Admission{Members: []mesh.Key{{3}}}, Admission{Members: []mesh.Key{{3}, {1}, {2}}, WithoutAgent: []mesh.Key{{4}}}},
		"the relay's key":   {Admission{Members: []mesh.Key{own, {1}}, WithoutAgent: []mesh.Key{own}, Complete: true}, Admission{Members: []mesh.Key{{1}}}},
	} {
		got := following(before, c.a, own)
		if !slices.Equal(got.Members, c.want.Members) || !slices.Equal(got.WithoutAgent, c.want.WithoutAgent) || got.Complete != c.a.Complete {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestAsManyAsFitAreAdmitted(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "relay")
	if err := start(t, dir, freePort(t)); err != nil {
		t.Fatal(err)
	}
	many := make([]mesh.Key, 20_000)
	for i := range many {
		many[i] = mesh.Key{byte(i >> 8), byte(i), 1}
	}
	if got := ask(t, dir, &Admission{Members: many, WithoutAgent: slices.Clone(many)}); got.Counts.Members != maxMembers {
		t.Errorf("%d are admitted", got.Counts.Members)
	}
}

func TestTakenPort(t *testing.T) {
	t.Parallel()
	conn, err := net.ListenUDP("udp", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	dir := filepath.Join(t.TempDir(), "relay")
	port := conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	if err := start(t, dir, port); err == nil || !strings.Contains(err.Error(), "address already in use") || strings.Contains(err.Error(), "; see ") {
		t.Errorf("the error is %v", err)
	}
	if err := Try(t.Context(), port, 0); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("the port that is taken can be used: %v", err)
	}
	if err := Try(t.Context(), freePort(t), 0); err != nil {
		t.Error(err)
	}
	if _, err := Ask(t.Context(), dir, nil); !errors.Is(err, ErrNone) {
		t.Errorf("there is a relay: %v", err)
	}
}

func TestRequestsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "relay")
	if err := start(t, dir, freePort(t)); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "{", `{"admit": {"members": ["x"]}}`, `[]`} {
		answer, err := detached.Call(t.Context(), dir, socketName, []byte(text))
		if err != nil || !strings.Contains(string(answer), `"fault"`) {
			t.Errorf("%q: %s %v", text, answer, err)
		}
	}
	if got := ask(t, dir, nil); got.Key.IsZero() {
		t.Errorf("afterwards: %+v", got)
	}
}
