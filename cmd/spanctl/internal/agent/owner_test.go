package agent

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/linklock"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/state"
)

// TestConfigOfAnotherMeshIsNotReplaced applies configs without an agent at a path where the config
// of a mesh is that another process runs.
func TestConfigOfAnotherMeshIsNotReplaced(t *testing.T) {
	root := t.TempDir()
	link := fmt.Sprintf("t%d", os.Getpid())
	log := slog.New(slog.DiscardHandler)
	path, theirs, ours := filepath.Join(root, "machine.cue"), filepath.Join(root, "theirs"), filepath.Join(root, "ours")
	text := "machine: network: kubespan: {enabled: false, interfaceName: \"" + link + "\"}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	locks := linklock.New(theirs, log)
	if err := locks.Hold(link); err != nil {
		t.Fatal(err)
	}
	apply := func(stateDir string) error {
		l := NewLocal(Machine{StateDir: stateDir, Socket: "/nowhere/sock", Log: log}, path)
		_, err := l.service.Apply(t.Context(), connect.NewRequest(&agentpb.ApplyRequest{
			Config: withMTU("1300"), Filename: "new.cue", Mode: agentpb.ApplyMode_APPLY_MODE_STAGED}))
		return err
	}
	stored := func() string {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	err := apply(ours)
	if err == nil || stored() != text {
		t.Fatalf("the error is %v, stored is %q", err, stored())
	}
	for _, want := range []string{path, "is the config of another mesh", theirs, "$SPANCTL_CONFIG"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	l := NewLocal(Machine{StateDir: ours, Socket: "/nowhere/sock", Log: log}, path)
	if _, err := l.service.Rollback(t.Context(), connect.NewRequest(&agentpb.RollbackRequest{Number: 1})); err == nil || !strings.Contains(err.Error(), "is the config of another mesh") {
		t.Errorf("rollback: %v", err)
	}
	// The mesh's own commands may, and all may once it has ended.
	if err := apply(theirs); err != nil || stored() != string(withMTU("1300")) {
		t.Errorf("%v, stored is %q", err, stored())
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	locks.Close()
	if err := apply(ours); err != nil || stored() != string(withMTU("1300")) {
		t.Errorf("%v, stored is %q", err, stored())
	}
}

// TestAutoStagesTheLossOfEachOfManyNetworks takes one network after the other from a peer.
func TestAutoStagesTheLossOfEachOfManyNetworks(t *testing.T) {
	var networks []netip.Prefix
	for i := range 20 {
		networks = append(networks, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 7, byte(i), 1}), 32))
	}
	for i, network := range networks {
		b := newBench(t)
		left := append(append([]netip.Prefix{}, networks[:i]...), networks[i+1:]...)
		key := mesh.Key{1}
		b.runner.plan = state.Plan{state.PeerChange{Old: state.Peer{PublicKey: key, Label: "phone", AllowedIPs: networks}, New: state.Peer{PublicKey: key, Label: "phone", AllowedIPs: left}}}
		response, err := b.do(t, agentpb.ApplyMode_APPLY_MODE_AUTO, "1300")
		if err != nil || !response.GetStaged() || len(b.runner.mtus) > 0 {
			t.Errorf("without %v: staged is %v, in force are %v, %v", network, response.GetStaged(), b.runner.mtus, err)
		}
		if impact := strings.Join(response.GetPlan().GetImpact(), "\n"); !strings.Contains(impact, network.String()) {
			t.Errorf("without %v the impact is %s", network, impact)
		}
	}
	// Many at once are all named.
	b := newBench(t)
	key := mesh.Key{1}
	b.runner.plan = state.Plan{state.PeerChange{Old: state.Peer{PublicKey: key, AllowedIPs: networks}, New: state.Peer{PublicKey: key}}}
	response, err := b.do(t, agentpb.ApplyMode_APPLY_MODE_DRY_RUN, "1300")
	if err != nil {
		t.Fatal(err)
	}
	for _, network := range networks {
		if !strings.Contains(strings.Join(response.GetPlan().GetImpact(), "\n"), network.String()) {
			t.Errorf("%v is not in the impact %v", network, response.GetPlan().GetImpact())
		}
	}
}
