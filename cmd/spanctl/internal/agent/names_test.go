package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/cmd/spanctl/internal/hostsfile"
	"github.com/spanmesh/span/cmd/spanctl/internal/resolved"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/names"
	"github.com/spanmesh/span/reconciler/resource"
)

// affiliateChange is the news of a machine, and specChange that of what its peer owns.
func affiliateChange(n byte, hostname string, deleted bool) resource.Change {
	a := mesh.Affiliate{NodeID: fmt.Sprintf("n%d", n), Hostname: hostname, Nodename: hostname,
		KubeSpan: mesh.KubeSpan{PublicKey: mesh.Key{n}, Address: nameAddress(n)}}
	return resource.Change{Deleted: deleted, Resource: resource.Resource{Type: resource.Affiliates, ID: a.NodeID, Spec: resource.Affiliate{Affiliate: &a}}}
}

func specChange(n byte, owns, deleted bool) resource.Change {
	spec := resource.PeerSpec{}
	if owns {
		spec.AllowedIPs = []netip.Prefix{netip.PrefixFrom(nameAddress(n), 128)}
	}
	return resource.Change{Deleted: deleted, Resource: resource.Resource{Type: resource.PeerSpecs, ID: mesh.Key{n}.String(), Spec: spec}}
}

func nameAddress(n byte) netip.Addr { return netip.AddrFrom16([16]byte{0: 0xfd, 15: n}) }

// named returns the names of a roster and whose they are.
func named(r *nameRoster) (all []string) {
	for _, h := range r.table("x").Hosts {
		all = append(all, fmt.Sprint(h.NodeID, h.Labels, h.Addresses))
	}
	return all
}

func TestNameRoster(t *testing.T) {
	r := newNameRoster("n1")
	for _, c := range []resource.Change{affiliateChange(1, "web1", false), affiliateChange(2, "web2", false), affiliateChange(3, "web3", false), specChange(2, true, false), specChange(3, false, false)} {
		r.take(c)
	}
	if got := named(r); !slices.Equal(got, []string{"n1[web1] [fd00::1]", "n2[web2] [fd00::2]"}) {
		t.Errorf("%v", got)
	}
	for _, c := range []struct {
		what    string
		change  resource.Change
		changes bool
		want    []string
	}{
		{"the same", affiliateChange(2, "web2", false), false, []string{"n1[web1] [fd00::1]", "n2[web2] [fd00::2]"}},
		{"it owns its address now", specChange(3, true, false), true, []string{"n1[web1] [fd00::1]", "n2[web2] [fd00::2]", "n3[web3] [fd00::3]"}},
		{"another name", affiliateChange(3, "web4", false), true, []string{"n1[web1] [fd00::1]", "n2[web2] [fd00::2]", "n3[web4] [fd00::3]"}},
		{"it is no peer any more", specChange(3, true, true), true, []string{"n1[web1] [fd00::1]", "n2[web2] [fd00::2]"}},
		{"it has left", affiliateChange(3, "web4", true), true, []string{"n1[web1] [fd00::1]", "n2[web2] [fd00::2]"}},
		{"a stranger has left", affiliateChange(9, "web9", true), false, []string{"n1[web1] [fd00::1]", "n2[web2] [fd00::2]"}},
	} {
		r.take(c.change)
		if r.changed != c.changes {
			t.Errorf("%s: changed is %v", c.what, r.changed)
		}
		if got := named(r); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v", c.what, got)
		}
	}
}

// TestNameRosterForgetsNothing compares a roster that has followed many changes with one that was made anew.
func TestNameRosterForgetsNothing(t *testing.T) {
	const machines = 8
	random := rand.New(rand.NewPCG(1, 2))
	r := newNameRoster("n1")
	affiliates, specs := map[byte]resource.Change{}, map[byte]resource.Change{}
	for range 2000 {
		n := byte(1 + random.IntN(machines))
		gone := random.IntN(3) == 0
		if random.IntN(2) == 0 {
			affiliates[n] = affiliateChange(n, fmt.Sprintf("web%d", random.IntN(4)), gone)
			r.take(affiliates[n])
		} else {
			specs[n] = specChange(n, random.IntN(3) > 0, gone)
			r.take(specs[n])
		}
		anew := newNameRoster("n1")
		for _, changes := range []map[byte]resource.Change{affiliates, specs} {
			for _, c := range changes {
				if !c.Deleted {
					anew.take(c)
				}
			}
		}
		if got, want := named(r), named(anew); !slices.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
	}
	for n := range byte(machines) {
		r.take(affiliateChange(n+1, "", true))
		r.take(specChange(n+1, false, true))
	}
	if len(r.asking)+len(r.allowed)+len(r.nodes)+len(r.members) != 0 {
		t.Errorf("left: %+v", r)
	}
}

// fakeResolved is a systemd-resolved.
type fakeResolved struct {
	used  bool
	err   error
	calls []string
}

func (f *fakeResolved) Used() bool { return f.used }

func (f *fakeResolved) Apply(_ context.Context, link resolved.Link) error {
	f.calls = append(f.calls, fmt.Sprint("apply ", link.Name, " ", link.Server, " ", link.Domains[0]))
	return f.err
}

func (f *fakeResolved) Revert(_ context.Context, index int, servers []netip.Addr) error {
	f.calls = append(f.calls, fmt.Sprint("revert ", index, " ", servers))
	return f.err
}

func TestNameForce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	read := func() string {
		text, _ := os.ReadFile(path) // it may not be there
		return string(text)
	}
	resolver := &fakeResolved{}
	f := nameForce{hosts: &nameHosts{file: hostsfile.File{Path: path, Owner: "/state"}}, resolver: resolver, log: slog.New(slog.DiscardHandler)}
	want := &nameWant{on: true, domain: "x", link: "kubespan", index: 7, addresses: [2]netip.Addr{nameAddress(1), loopbackOf(51820)}}
	table := names.Make("x", []names.Member{{NodeID: "n1", Hostname: "web1", Nodename: "node-1", Addresses: []netip.Addr{nameAddress(1)}}})
	now := time.Now()
	apply := func(servers ...netip.Addr) (by, found string) {
		by, conditions := f.apply(t.Context(), now, want, table, servers)
		return by, fmt.Sprint(conditions)
	}
	if by, found := apply(nameAddress(1)); by != hostsPath || found != "[]" || !strings.Contains(read(), "\nfd00::1\tweb1.x node-1.x\t# spanctl\n") || len(resolver.calls) > 0 {
		t.Errorf("without systemd-resolved: %q, %s, %q, %v", by, found, read(), resolver.calls)
	}
	resolver.used, resolver.err = true, resolved.ErrNotRunning
	if by, found := apply(nameAddress(1)); by != "" || found != "[]" {
		t.Errorf("while it starts: %q, %s", by, found)
	}
	now = now.Add(resolvedPatience)
	if by, found := apply(nameAddress(1)); by != hostsPath || found != "[]" {
		t.Errorf("it does not start: %q, %s", by, found)
	}
	resolver.err = errors.New("broken")
	if by, found := apply(nameAddress(1)); by != "" || !strings.Contains(found, "NamesNotInForce") || !strings.Contains(found, "broken") {
		t.Errorf("it refuses: %q, %s", by, found)
	}
	resolver.err = nil
	if by, found := apply(nameAddress(1), loopbackOf(51820)); by != systemdName || found != "[]" || strings.Contains(read(), "web1") {
		t.Errorf("with systemd-resolved: %q, %s, %q", by, found, read())
	}
	if last := resolver.calls[len(resolver.calls)-1]; last != "apply kubespan fd00::1 x" {
		t.Errorf("the call was %q", last)
	}
	if by, found := apply(); by != "" || found != "[]" {
		t.Errorf("without a server: %q, %s", by, found)
	}
	if found := f.withdraw(t.Context(), want); len(found) > 0 || resolver.calls[len(resolver.calls)-1] != "revert 7 [fd00::1 127.202.108.53]" {
		t.Errorf("withdrawn: %v, %v", found, resolver.calls)
	}
}

func TestNamesNotInForceSaysWhatToDo(t *testing.T) {
	at := netip.AddrPortFrom(nameAddress(1), 53)
	for _, c := range []struct{ got, want string }{
		{fmt.Sprint(notServed(at, fmt.Errorf("listen: %w", unix.EADDRINUSE))), "bind-dynamic"},
		{fmt.Sprint(notServed(at, unix.EACCES)), "CAP_NET_BIND_SERVICE"},
		{fmt.Sprint(notServed(at, unix.EADDRNOTAVAIL)), "see what keeps the mesh from being up"},
		{fmt.Sprint(notWritten(fmt.Errorf("/etc/hosts: %w", hostsfile.ErrReplaced))), "systemctl restart spanctl"},
		{fmt.Sprint(notWritten(unix.EROFS)), "ReadWritePaths=-/etc/hosts"},
		{fmt.Sprint(notWritten(unix.ENOSPC)), "make room"},
		{fmt.Sprint(notWritten(unix.EPERM)), "make it a regular file"},
	} {
		if !strings.Contains(c.got, c.want) {
			t.Errorf("%q does not have %q", c.got, c.want)
		}
	}
}

func TestLoopbackOfEachMesh(t *testing.T) {
	if got := loopbackOf(51820).String(); got != "127.202.108.53" {
		t.Error(got)
	}
	seen := map[netip.Addr]bool{}
	for port := 1; port < 1<<16; port++ {
		a := loopbackOf(port)
		if !a.IsLoopback() || seen[a] || a == netip.MustParseAddr("127.0.0.53") {
			t.Fatalf("port %d: %v", port, a)
		}
		seen[a] = true
	}
}
