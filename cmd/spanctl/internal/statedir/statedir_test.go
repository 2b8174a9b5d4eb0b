package statedir

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/spanmesh/span/cmd/spanctl/internal/durable"
	"github.com/spanmesh/span/cmd/spanctl/internal/trial"
	"github.com/spanmesh/span/reconciler/mesh"
)

func open(t *testing.T, path string) *Dir {
	t.Helper()
	d := At(path)
	if err := d.Lock(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func identify(t *testing.T, d *Dir, cluster string, mac net.HardwareAddr) mesh.Identity {
	t.Helper()
	id, err := d.Identify(cluster, mesh.Host{MAC: mac})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestIdentityIsMadeOnceAndKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	d := open(t, path)
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	first := identify(t, d, "cluster", mac)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = open(t, path)
	if again := identify(t, d, "cluster", mac); again != first {
		t.Errorf("the identity changed: %+v, %+v", first, again)
	}
	if id, err := d.NodeID(); err != nil || id != first.NodeID {
		t.Errorf("the node ID is %q, %v", id, err)
	}
	otherMAC, otherCluster := identify(t, d, "cluster", net.HardwareAddr{2, 0, 0, 0, 0, 2}), identify(t, d, "other", mac)
	if otherMAC.PublicKey != first.PublicKey || otherCluster.PublicKey != first.PublicKey || otherMAC.Address == first.Address || otherCluster.Subnet == first.Subnet {
		t.Errorf("another MAC and another cluster change the address, never the key: %+v, %+v", otherMAC, otherCluster)
	}

	t.Run("in files for their owner alone", func(t *testing.T) {
		for _, name := range []string{nodeFile, kubespanFile} {
			info, err := os.Stat(filepath.Join(path, name))
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", name, info, err)
			}
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%v, %v", info, err)
		}
	})
	t.Run("with the fields that Talos gives them", func(t *testing.T) {
		text, err := os.ReadFile(filepath.Join(path, kubespanFile))
		if err != nil {
			t.Fatal(err)
		}
		for _, field := range []string{"address: " + otherCluster.Address.String(), "subnet: " + otherCluster.Subnet.String(),
			"privateKey: ", "publicKey: " + first.PublicKey.String()} {
			if !strings.Contains(string(text), field) {
				t.Errorf("no %q in %s", field, filepath.Join(path, kubespanFile))
			}
		}
	})
}

func TestMachineWithoutACardKeepsAMAC(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	first := identify(t, d, "cluster", nil)
	if again := identify(t, d, "cluster", nil); again != first {
		t.Errorf("the address changed: %s, %s", first.Address, again.Address)
	}
	if other := identify(t, open(t, t.TempDir()), "cluster", nil); other.Address == first.Address {
		t.Error("two machines have one address")
	}
}

func TestDamagedIdentityIsSaidAndKept(t *testing.T) {
	const private = "gNoasoKOJzl+/B+uXhvsBVxv81OcVLrlcmQ5jQwZO08="
	for _, c := range []struct{ file, text, want string }{
		{kubespanFile, "", "is empty"},
		{kubespanFile, "privateKey: " + private + "x\n", "privateKey is not the base64"},
		{kubespanFile, "privateKey: [" + private + "]\n", "is not YAML with the fields"},
		{kubespanFile, "privateKey: " + private + "\npublicKey: " + private + "\n", "not the public half"},
		{kubespanFile, "privatKey: " + private + "\n", "is not YAML with the fields"},
		{kubespanFile, "address: " + private + "\n", "is not YAML with the fields"},
		{nodeFile, "nodeId: ''\n", "nodeId has 0 characters"},
		{nodeFile, "nodeId: " + strings.Repeat("x", 300) + "\n", "nodeId has 300 characters"},
		{nodeFile, "nodeId: a\nmac: 02:00\n", "is not like 02:00:5e:10:00:01"},
	} {
		path := t.TempDir()
		file := filepath.Join(path, c.file)
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := open(t, path).Identify("cluster", mesh.Host{})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), file) || strings.Contains(err.Error(), private) {
			t.Errorf("%q yields %v", c.text, err)
		}
		if now, err := os.ReadFile(file); err != nil || string(now) != c.text {
			t.Errorf("the file was changed to %q, %v", now, err)
		}
	}
}

func TestOneProcessAtATime(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	if err := At(path).Lock(); !errors.Is(err, ErrBusy) {
		t.Errorf("opened twice: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path)
}

func TestCommandsWaitForEachOther(t *testing.T) {
	path := t.TempDir()
	first := open(t, path)
	if err := At(path).LockWithin(t.Context(), 2*lockPoll); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), fmt.Sprintf("a command, process %d", os.Getpid())) {
		t.Errorf("after the limit: %v", err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := At(path).LockWithin(ended, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	const many = 5
	var inside atomic.Int32
	group := new(errgroup.Group)
	for range many {
		group.Go(func() error {
			d := At(path)
			if err := d.LockWithin(t.Context(), time.Hour); err != nil {
				return err
			}
			if inside.Add(1) != 1 {
				t.Error("two have the lock")
			}
			inside.Add(-1)
			return d.Unlock()
		})
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

func TestCommandDoesNotWaitForAnAgent(t *testing.T) {
	path := t.TempDir()
	agent := At(path)
	agent.Agent = true
	if err := agent.Lock(); err != nil {
		t.Fatal(err)
	}
	if err := At(path).LockWithin(t.Context(), time.Hour); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), "the agent") {
		t.Errorf("the error is %v", err)
	}
	if err := agent.Close(); err != nil {
		t.Fatal(err)
	}
	if err := At(path).LockWithin(t.Context(), time.Hour); err != nil {
		t.Error(err)
	}
}

func TestHistoryKeepsTheLastConfigs(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	if all, err := d.History(); len(all) != 0 || err != nil {
		t.Errorf("at first there is %v, %v", all, err)
	}
	if _, _, err := d.Read(0); !errors.Is(err, ErrNoRevision) {
		t.Errorf("at first the newest is %v", err)
	}
	begin := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	names := []string{"/etc/spanctl/machine.cue", "x.yaml", "none"}
	for i := range 12 {
		text := []byte(fmt.Sprintf("a: %d", i))
		for range 2 { // the second is no other config
			if _, err := d.Keep(begin.Add(time.Duration(i)*time.Hour), "apply", names[i%3], text, true); err != nil {
				t.Fatal(err)
			}
		}
		newest, data, err := d.Read(0)
		if err != nil || newest.Number != i+1 || string(data) != string(text) || filepath.Ext(newest.Path) != filepath.Ext(names[i%3]) {
			t.Errorf("the newest is %+v, %q, %v", newest, data, err)
		}
	}
	if err := os.WriteFile(filepath.Join(path, historyDir, "notes.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := d.History()
	if err != nil || len(all) != Kept || all[0].Number != 12 || all[Kept-1].Number != 3 {
		t.Errorf("kept is %+v, %v", all, err)
	}
	third, data, err := d.Read(3)
	if err != nil || string(data) != "a: 2" || third.How != "apply" || !third.Time.Equal(begin.Add(2*time.Hour).Truncate(time.Second)) {
		t.Errorf("the third is %+v, %q, %v", third, data, err)
	}
	if _, _, err := d.Read(2); !errors.Is(err, ErrNoRevision) {
		t.Errorf("the second is %v", err)
	}
	if info, err := os.Stat(third.Path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the third's file is %v, %v", info, err)
	}
}

// TestConfigsOnTrialPushOutNone keeps many configs on trial after one that is confirmed.
func TestConfigsOnTrialPushOutNone(t *testing.T) {
	d := open(t, t.TempDir())
	keep := func(i int, confirmed bool) Revision {
		t.Helper()
		r, err := d.Keep(time.Now(), "file", "machine.cue", []byte(fmt.Sprintf("a: %d", i)), confirmed)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	keep(0, true)
	before := keep(1, true)
	for i := range 2 * Kept {
		keep(i+2, false)
	}
	if keep(1, false); d.Confirm() != nil {
		t.Error("not confirmed")
	}
	for _, c := range []struct {
		number int
		want   string
	}{{1, "a: 0"}, {before.Number, "a: 1"}, {0, "a: 1"}} {
		if r, data, err := d.Read(c.number); err != nil || string(data) != c.want || !r.Confirmed {
			t.Errorf("there is %+v, %q, %v", r, data, err)
		}
	}
	all, err := d.History()
	if err != nil || len(all) != Kept+2 || all[1].Confirmed {
		t.Errorf("there are %+v, %v", all, err)
	}
	// What was confirmed is there: it is not kept twice, whatever was on trial since.
	newest := all[0].Number
	keep(99, false)
	if r := keep(1, true); r.Number != newest {
		t.Errorf("it is kept as %+v", r)
	}
	if r, _, err := d.InForce(); err != nil || r.Number != newest {
		t.Errorf("in force is %+v, %v", r, err)
	}
	if err := d.BeginTrial(trial.Record{Before: newest, Newest: newest, Timeout: time.Hour, Left: time.Hour, Since: trial.Moment{Boot: "b"}}); err != nil {
		t.Fatal(err)
	}
	if _, data, err := d.InForce(); err != nil || string(data) != "a: 99" {
		t.Errorf("on trial is %q, %v", data, err)
	}
}

func TestTrial(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	if _, on, err := d.Trial(); on || err != nil {
		t.Errorf("at first one is on: %v, %v", on, err)
	}
	want, err := trial.Begin(trial.State{Confirmed: 3, Newest: 4, Down: true}, time.Minute, trial.Moment{Boot: "b", Up: time.Hour, Wall: time.Now().Round(0).UTC()})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.BeginTrial(want); err != nil {
		t.Fatal(err)
	}
	if got, on, err := d.Trial(); !on || err != nil || got != want {
		t.Errorf("got %+v, %v, %v", got, on, err)
	}
	for range 2 {
		if err := d.EndTrial(); err != nil {
			t.Error(err)
		}
	}
	if _, on, err := d.Trial(); on || err != nil {
		t.Errorf("at the end one is on: %v, %v", on, err)
	}
	for _, text := range []string{"", "{", "{}", "null", `{"before":1,"until":"2026-01-02T03:04:05Z","timeout":60000000000}`} {
		if err := os.WriteFile(filepath.Join(path, trialFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, on, err := d.Trial(); !on || err != nil || got != (trial.Record{}) {
			t.Errorf("%q is %+v, %v, %v", text, got, on, err)
		}
	}
}

func TestDownIsNoted(t *testing.T) {
	d := open(t, t.TempDir())
	for _, want := range []bool{false, true, true, false, false} {
		if err := d.SetDown(want); err != nil {
			t.Error(err)
		}
		if got, err := d.IsDown(); err != nil || got != want {
			t.Errorf("down is %v, %v, want %v", got, err, want)
		}
	}
}

func TestRegistryCaches(t *testing.T) {
	path := t.TempDir()
	old := filepath.Join(path, oldCacheFile)
	if err := os.WriteFile(old, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := open(t, path)
	if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the cache of an earlier version is still there: %v", err)
	}
	load := func(registry, cluster, want string) {
		t.Helper()
		if data, err := d.Load(registry, cluster); err != nil || string(data) != want {
			t.Errorf("%s in %s: %q, %v, want %q", registry, cluster, data, err, want)
		}
	}
	load("service", "c", "")
	for registry, data := range map[string]string{"service": `["a"]`, "kubernetes": `{"node":"n"}`} {
		if err := d.Save(registry, "c", []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	load("service", "c", `["a"]`)
	load("kubernetes", "c", `{"node":"n"}`)
	load("service", "another", "")

	file := filepath.Join(path, cacheFile("service"))
	text, err := os.ReadFile(file)
	if err != nil || strings.Contains(string(text), `"c"`) {
		t.Errorf("the cluster's ID is on disk in clear: %s, %v", text, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("the mode of the file is %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(file, text[:len(text)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if data, err := d.Load("service", "c"); data != nil || err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("of half a file there is %q, %v", data, err)
	}
	load("kubernetes", "c", `{"node":"n"}`)
	if err := d.Save("service", "another", []byte("[]")); err != nil {
		t.Fatal(err)
	}
	load("service", "c", "")
}

func FuzzParseIdentityFiles(f *testing.F) {
	for _, text := range []string{
		"nodeId: 2VfX3nu67ZtZPl57IdJrU87BMjVWkSBJiL9ulP9TCnF\nmac: 02:00:5e:10:00:01\n",
		"address: fd83:b1f7:fcb5:2802:8c13:71ff:feaf:7c94/128\nsubnet: fd83:b1f7:fcb5:2802::/64\n" +
			"privateKey: gNoasoKOJzl+/B+uXhvsBVxv81OcVLrlcmQ5jQwZO08=\npublicKey: NzW8oeIH5rJyY5lefD9WRoHWWRr/Q6DwsDjMX+xKjT4=\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if n, err := parseNodeIdentity(data); err == nil && n.NodeID == "" {
			t.Error("took a node without an ID")
		}
		if k, private, err := parseKubespanIdentity(data); err == nil && k.PublicKey != private.Public().String() {
			t.Error("took a key pair that is none")
		}
	})
}

// TestGuideKeyPair has the identity that the KubeSpan guide shows.
func TestGuideKeyPair(t *testing.T) {
	_, private, err := parseKubespanIdentity([]byte("address: fd83:b1f7:fcb5:2802:8c13:71ff:feaf:7c94/128\nsubnet: fd83:b1f7:fcb5:2802::/64\n" +
		"privateKey: gNoasoKOJzl+/B+uXhvsBVxv81OcVLrlcmQ5jQwZO08=\npublicKey: NzW8oeIH5rJyY5lefD9WRoHWWRr/Q6DwsDjMX+xKjT4=\n"))
	if err != nil || private.IsZero() {
		t.Error(err)
	}
}

func TestRotationIsInUseOnceItIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	d := open(t, path)
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	before := identify(t, d, "cluster", mac)
	rotation := d.Rotate()
	next, err := rotation.Next("cluster", mesh.Host{MAC: mac})
	if err != nil {
		t.Fatal(err)
	}
	if next.PublicKey == before.PublicKey || next.NodeID != before.NodeID || next.Address != before.Address ||
		rotation.Before != before.PublicKey || rotation.After() != next.PublicKey || next.PrivateKey.Public() != next.PublicKey {
		t.Errorf("from %+v to %+v", before, next)
	}
	if now := identify(t, d, "cluster", mac); now != before {
		t.Errorf("the new key is in use before it is kept: %+v", now)
	}
	if err := rotation.Keep(); err != nil {
		t.Fatal(err)
	}
	if now := identify(t, d, "cluster", mac); now != next {
		t.Errorf("the identity is %+v, want %+v", now, next)
	}
}

func TestResetReplacesTheWholeIdentity(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	d := open(t, path)
	before := identify(t, d, "cluster", nil)
	reset, err := d.ResetIdentity()
	if err != nil {
		t.Fatal(err)
	}
	after := identify(t, d, "cluster", nil)
	if after.NodeID == before.NodeID || after.PublicKey == before.PublicKey || after.Address == before.Address {
		t.Errorf("from %+v to %+v", before, after)
	}
	want := Reset{NodeIDBefore: before.NodeID, NodeID: after.NodeID, KeyBefore: before.PublicKey, Key: after.PublicKey}
	if reset != want {
		t.Errorf("reported %+v, want %+v", reset, want)
	}
	if again := identify(t, d, "cluster", nil); again != after {
		t.Errorf("the identity is %+v, then %+v", after, again)
	}
}

// TestPowerLossLeavesOneIdentity loses power at every step of a reset, and of the start
// after it.
func TestPowerLossLeavesOneIdentity(t *testing.T) {
	errPower := errors.New("no power")
	for at := 0; ; at++ {
		path := filepath.Join(t.TempDir(), "state")
		d := open(t, path)
		before := identify(t, d, "cluster", nil)
		steps := 0
		d.Disk.Before = func(durable.Step, string) error {
			if steps++; steps > at {
				return errPower
			}
			return nil
		}
		reset, err := d.ResetIdentity()
		d.Disk = durable.Disk{}
		after := identify(t, d, "cluster", nil)
		whole := after.NodeID == before.NodeID && after.PublicKey == before.PublicKey && after.Address == before.Address ||
			after.NodeID != before.NodeID && after.PublicKey != before.PublicKey && after.Address != before.Address
		if !whole {
			t.Errorf("after %d steps: from %+v to %+v", at, before, after)
		}
		if err == nil {
			if reset.NodeID != after.NodeID || reset.Key != after.PublicKey {
				t.Errorf("reported %+v, want %+v", reset, after)
			}
			return
		}
		if !errors.Is(err, errPower) {
			t.Fatal(err)
		}
	}
}

func TestLastGood(t *testing.T) {
	d := open(t, filepath.Join(t.TempDir(), "state"))
	if lastGood, err := d.LastGood(); err != nil || len(lastGood) != 0 {
		t.Errorf("at the start: %v, %v", lastGood, err)
	}
	want := map[mesh.Key]netip.AddrPort{{1}: netip.MustParseAddrPort("192.0.2.1:1"), {2}: netip.MustParseAddrPort("[2001:db8::1]:2")}
	if err := d.SaveLastGood(want); err != nil {
		t.Fatal(err)
	}
	if got, err := d.LastGood(); err != nil || !maps.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	if err := os.WriteFile(filepath.Join(d.path, lastGoodFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.LastGood(); err == nil {
		t.Error("a damaged file was read")
	}
}

func TestResetReplacesTheToken(t *testing.T) {
	d := open(t, t.TempDir())
	token := func() string {
		path, err := d.APIToken()
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	before := token()
	if again := token(); again != before {
		t.Errorf("the token changes by itself from %q to %q", before, again)
	}
	if _, err := d.ResetIdentity(); err != nil {
		t.Fatal(err)
	}
	if token() == before {
		t.Error("the token stays")
	}
}

// TestDamagedFilesAreFoundWithoutTheLock finds what an agent that starts would.
func TestDamagedFilesAreFoundWithoutTheLock(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	if _, err := d.NodeID(); err != nil {
		t.Fatal(err)
	}
	if found, err := At(path).Damaged(); err != nil || len(found) > 0 {
		t.Fatalf("of a valid identity: %v, %v", found, err)
	}
	for _, name := range []string{"kubespan-identity.yaml", "node-identity.yaml", "reset-identity.yaml"} {
		if err := os.WriteFile(filepath.Join(path, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	found, err := At(path).Damaged()
	if err != nil || len(found) != 3 || found[0].Subject != filepath.Join(path, "kubespan-identity.yaml") || !strings.HasSuffix(found[0].Cause, "is empty") {
		t.Errorf("of empty files: %v, %v", found, err)
	}
}
