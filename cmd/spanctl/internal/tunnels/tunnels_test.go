package tunnels

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/netlinkapply/detached"
	"github.com/spanmesh/span/reconciler/mesh"
)

// TestMain is the process of these tests where its arguments say so.
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

// wireguard is WireGuard's port.
func wireguard(t *testing.T) (conn *net.UDPConn, port uint16) {
	t.Helper()
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn, conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
}

// newProcess returns a process that does not run yet.
func newProcess(t *testing.T) *Process {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := At(filepath.Join(dir, "agent.sock"), executable, filepath.Join(dir, "log"), slog.New(slog.DiscardHandler))
	t.Cleanup(func() { _ = detached.End(t.Context(), p.dir, p.name) })
	t.Cleanup(func() {
		if text, _ := os.ReadFile(filepath.Join(dir, "log")); t.Failed() {
			t.Logf("its log: %s", text)
		}
	})
	return p
}

// keep has the process have tunnels, and returns the endpoint of the first.
func (p *Process) keep(t *testing.T, all []Tunnel, locals map[mesh.Key]netip.AddrPort) netip.AddrPort {
	t.Helper()
	found, err := p.Keep(t.Context(), all, locals)
	if err != nil || len(found) != len(all) {
		t.Fatal(found, err)
	}
	return found[0].Endpoint
}

// pid returns the ID of the process.
func (p *Process) pid(t *testing.T) int {
	t.Helper()
	c, err := detached.Dial(p.dir, p.name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	pid, err := detached.PIDOf(c)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func TestProcess(t *testing.T) {
	conn, port := wireguard(t)
	p := newProcess(t)
	var said bytes.Buffer
	p.log = slog.New(slog.NewTextHandler(&said, nil))
	if found, err := p.Find(t.Context()); err != nil || len(found) > 0 {
		t.Fatalf("before the start: %v, %v", found, err)
	}
	all := []Tunnel{{Relay: mesh.Key{1}, URL: "http://127.0.0.1:1/relay", Port: port}}
	endpoint, pid := p.keep(t, all, nil), p.pid(t)
	if info, err := os.Stat(filepath.Join(p.dir, "agent-tunnels.sock")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("its socket is %v, %v", info, err)
	}

	// Another agent finds it.
	other := *p
	if found, err := other.Find(t.Context()); err != nil || len(found) != 1 || found[0].Endpoint != endpoint || found[0].Relay != all[0].Relay {
		t.Errorf("found are %v, %v", found, err)
	}
	if at := other.keep(t, all, nil); at != endpoint || other.pid(t) != pid {
		t.Errorf("another agent has %v of process %d, want %v of %d", at, other.pid(t), endpoint, pid)
	}
	// Another tunnel to the same relay takes its port.
	all[0].URL, all[0].Mark = "http://127.0.0.1:2/relay", 0
	if at := other.keep(t, all, nil); at != endpoint {
		t.Errorf("another tunnel is at %v, before %v", at, endpoint)
	}

	// A process of another version goes on while a tunnel is used.
	if _, err := conn.WriteToUDPAddrPort([]byte("packet"), endpoint); err != nil {
		t.Fatal(err)
	}
	other.version = "later"
	for deadline := time.Now().Add(20 * time.Second); ; {
		found, err := other.Find(t.Context())
		if err != nil || time.Now().After(deadline) {
			t.Fatal(found, err)
		}
		if found[0].Failure != "" {
			break // it has got the packet
		}
	}
	if at := other.keep(t, all, nil); at != endpoint || other.pid(t) != pid {
		t.Errorf("a later version has %v of process %d, want %v of %d", at, other.pid(t), endpoint, pid)
	}
	// One that was killed is replaced, at the same port.
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if said.Len() > 0 {
		t.Errorf("before it was killed, the log has %q", said.String())
	}
	locals := map[mesh.Key]netip.AddrPort{{1}: endpoint}
	if at := p.keep(t, all, locals); at != endpoint || p.pid(t) == pid {
		t.Errorf("after it was killed, %v of process %d", at, p.pid(t))
	}
	if strings.Count(said.String(), "tunnel process exited; restarting") != 1 {
		t.Errorf("after it was killed, the log has %q", said.String())
	}
	said.Reset()
	// One that is not used is replaced by that of another version.
	pid = p.pid(t)
	if at := other.keep(t, all, nil); at != endpoint || other.pid(t) == pid {
		t.Errorf("a later version has %v of process %d, of which none was used", at, pid)
	}
	if found, err := other.Keep(t.Context(), nil, nil); err != nil || len(found) > 0 {
		t.Errorf("without tunnels: %v, %v", found, err)
	}
	if said.Len() > 0 {
		t.Errorf("after it was replaced and ended, the log has %q", said.String())
	}
	if names := detached.Names(p.dir); len(names) > 0 {
		t.Errorf("left are %v", names)
	}
	if err := other.End(t.Context()); err != nil {
		t.Errorf("a second end: %v", err)
	}
}

func TestRefusedRequests(t *testing.T) {
	good := `{"relay":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","url":"https://a/relay","port":1,"mark":2}`
	for name, c := range map[string]struct {
		text string
		ok   bool
	}{
		"nothing asked for":      {`{}`, true},
		"no tunnels":             {`{"keep":[]}`, true},
		"one":                    {`{"keep":[` + good + `]}`, true},
		"of a later version":     {`{"keep":[` + good + `],"later":1}`, true},
		"not JSON":               {`keep`, false},
		"cut":                    {`{"keep":[` + good, false},
		"too many":               {`{"keep":[` + strings.Repeat(good+",", maxTunnels) + good + `]}`, false},
		"a file for a relay":     {`{"keep":[` + strings.Replace(good, "https", "file", 1) + `]}`, false},
		"no URL":                 {`{"keep":[` + strings.Replace(good, "https://a/relay", "", 1) + `]}`, false},
		"a long URL":             {`{"keep":[` + strings.Replace(good, "/relay", "/"+strings.Repeat("x", maxURL), 1) + `]}`, false},
		"no port":                {`{"keep":[` + strings.Replace(good, `"port":1`, `"port":0`, 1) + `]}`, false},
		"a port that is none":    {`{"keep":[` + strings.Replace(good, `"port":1`, `"port":65536`, 1) + `]}`, false},
		"no relay":               {`{"keep":[` + strings.Replace(good, "AQAA", "AAAA", 1) + `]}`, false},
		"a proxy that is no URL": {`{"keep":[` + strings.Replace(good, `"port"`, `"proxy":"http://a:b","port"`, 1) + `]}`, false},
	} {
		r, err := parseRequest([]byte(c.text))
		var refused []Status
		if err == nil && r.Keep != nil {
			_, refused = usable(*r.Keep)
		}
		if (err == nil && len(refused) == 0) != c.ok {
			t.Errorf("%s: %v, %v", name, err, refused)
		}
	}
	var a answer
	k := newKeeper(discard())
	defer k.close()
	if err := json.Unmarshal(k.answer([]byte(`{"keep":3}`)), &a); err != nil || a.Error == "" || len(a.Tunnels) > 0 {
		t.Errorf("the answer is %+v, %v", a, err)
	}
}

// TestBadTunnelIsRefusedAlone has one beside as many good ones as there may be, with many authorities.
func TestBadTunnelIsRefusedAlone(t *testing.T) {
	_, port := wireguard(t)
	p := newProcess(t)
	var all []Tunnel
	for i := range maxTunnels {
		all = append(all, Tunnel{Relay: mesh.Key{byte(i + 1)}, URL: "http://127.0.0.1:1/relay", Port: port, CA: strings.Repeat("authority\n", 25<<10)})
	}
	all[0].URL += strings.Repeat("x", maxURL)
	found, err := p.Keep(t.Context(), all, nil)
	if err != nil || len(found) != len(all) {
		t.Fatalf("%d tunnels, %v", len(found), err)
	}
	for i, s := range found {
		if bad := i == 0; s.Relay != all[i].Relay || (s.Failure != "") != bad || s.Endpoint.IsValid() == bad {
			t.Errorf("tunnel %d is %+v", i, s)
		}
	}
	all[0].URL = all[1].URL
	if found, err := p.Keep(t.Context(), all, nil); err != nil || slices.ContainsFunc(found, func(s Status) bool { return s.Failure != "" }) {
		t.Errorf("once it is mended: %v, %v", found, err)
	}
}

// TestBusyProcessIsKept has one that is stopped for a while.
func TestBusyProcessIsKept(t *testing.T) {
	_, port := wireguard(t)
	p := newProcess(t)
	all := []Tunnel{{Relay: mesh.Key{1}, URL: "http://127.0.0.1:1/relay", Port: port}}
	p.keep(t, all, nil)
	pid := p.pid(t)
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Keep(t.Context(), all, nil); err == nil {
		t.Error("a process that is stopped has answered")
	}
	if err := unix.Kill(pid, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if p.keep(t, all, nil); p.pid(t) != pid {
		t.Errorf("process %d was replaced", pid)
	}
}

func TestPatience(t *testing.T) {
	p := &Process{}
	silence := &detached.UnresponsiveError{}
	for i, c := range []struct {
		err         error
		hangs, wait bool
	}{{silence, true, true}, {nil, false, false}, {silence, true, true}, {silence, true, true}, {silence, true, false}, {silence, true, true}} {
		if hangs, wait := p.hangs(c.err); hangs != c.hangs || wait != c.wait {
			t.Errorf("request %d: hangs %v, wait %v", i, hangs, wait)
		}
	}
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"keep":[{"relay":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","url":"https://a/relay","ca":"x","port":1,"mark":2,"local":3}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := parseRequest(text)
		if err != nil || r.Keep == nil {
			return
		}
		good, refused := usable(*r.Keep)
		if len(good)+len(refused) != len(*r.Keep) || slices.ContainsFunc(good, func(w wanted) bool { return w.check() != nil }) {
			t.Error("it has a tunnel that is refused")
		}
	})
}

func TestProxyIsThatOfTheEnvironment(t *testing.T) {
	tunnel := Tunnel{Proxy: "http://user:word@proxy.example:3128"}
	if u, err := tunnel.through(nil); err != nil || u.Host != "proxy.example:3128" || u.User.String() != "user:word" {
		t.Errorf("the proxy is %v, %v", u, err)
	}
	if u, err := (Tunnel{}).through(nil); err != nil || u != nil {
		t.Errorf("without one, the proxy is %v, %v", u, err)
	}
	if _, err := ProxyOf("://"); err == nil {
		t.Error("a text that is no URL has a proxy")
	}
}
