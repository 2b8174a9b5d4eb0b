package e2e_test

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/internal/nodecmd"
)

// TestInvitedPeer has a machine without an agent, which joins by wg-quick and the file that it is given.
func TestInvitedPeer(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a machine with wg-quick joins by the file of `spanctl invite`, and all members reach it and are reached")
	needWGQuick(t)
	m := harness.NewMesh(t, 3)
	node := m.Machines[0]
	node.Files.WriteConfig("// web1\n" + m.Config)
	m.Start()
	m.AwaitUp()
	phone := m.Add("phone")
	file := filepath.Join(t.TempDir(), "phone.conf")
	o := node.CLI.Try("invite", "--wireguard", "phone", file)
	o.WantStatus(t, 0).WantOutput(t, "").WantStderr(t, "wrote "+file, "is a private address")
	text := node.Files.Read(file)
	key := setting(t, text, "PrivateKey")
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file has the mode %v, %v", info.Mode(), err)
	}
	config := node.Files.Config()
	harness.WantText(t, "the config", config, "// web1\n", `"phone"`, "advertise: true", setting(t, text, "PresharedKey"))
	harness.WantNoText(t, "the config", config, key)
	harness.WantText(t, "the condition", fmt.Sprint(node.API.AwaitCondition("RelayNotForwarding")), "advertise is set for the static peer phone", "forwarding of IPv6 is off")
	forwardIPv6(t, node)
	node.API.AwaitNoCondition("RelayNotForwarding")

	wgQuick(t, phone, "up", file)
	address := netip.MustParsePrefix(setting(t, text, "Address")).Addr()
	for _, machine := range m.Machines {
		phone.Packets.Ping(machine.API.MeshAddress())
	}
	for _, machine := range m.Machines {
		machine.Packets.Ping(address)
	}
	m.AwaitNoDiff()
	if shown := node.CLI.Run("get", "kubespanpeerspecs", "-o", "yaml") + node.CLI.Run("get", "mc", "-o", "yaml"); strings.Contains(shown, setting(t, text, "PresharedKey")) {
		t.Error("the preshared key is shown")
	}

	t.Run("once", func(t *testing.T) {
		other := filepath.Join(t.TempDir(), "phone.conf")
		node.CLI.Try("invite", "--wireguard", "phone", other).WantStatus(t, 1).WantStderr(t, `has the name "phone" already`)
		node.CLI.Try("invite", "--wireguard", "tablet", file).WantStatus(t, 1).WantStderr(t, "exists already")
		address := address.String()
		node.CLI.Try("invite", "--wireguard", "tablet", "--address", address, other).WantStatus(t, 1).WantStderr(t, "is that of phone")
		if _, err := os.Stat(other); err == nil {
			t.Error("there is a file of a peer that is not in the config")
		}
		node.Files.WantConfig(t, config)
	})
	t.Run("wg(8) reads what is exported", func(t *testing.T) {
		exported := filepath.Join(t.TempDir(), "node.conf")
		if err := os.WriteFile(exported, []byte(node.CLI.Run("export", "wg", "--show-secrets")), 0o600); err != nil {
			t.Fatal(err)
		}
		shown := node.Exec.Run("wg", "showconf", nodecmd.MeshLink)
		phone.Exec.Run("wg", "setconf", "phone", exported)
		got := phone.Exec.Run("wg", "showconf", "phone")
		for _, name := range []string{"PrivateKey", "ListenPort", "FwMark"} {
			if setting(t, got, name) != setting(t, shown, name) {
				t.Errorf("%s differs", name)
			}
		}
		for _, machine := range m.Machines[1:] {
			harness.WantText(t, "the exported peers", got, machine.API.PublicKey(), machine.API.MeshAddress().String(), machine.Address.String()+":51820")
		}
	})
	t.Run("leaves", func(t *testing.T) {
		wgQuick(t, phone, "down", file)
		node.Files.WriteConfig(m.Config)
		m.Machines[1].API.Await("kubespanpeerspecs", func(specs harness.Specs) bool { return !strings.Contains(fmt.Sprint(specs), address.String()) })
	})
}

// TestPeerOfTwoMachines has a peer without an agent that two machines know. Whichever it is connected to
// carries its traffic.
func TestPeerOfTwoMachines(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "two machines have one static peer: it is reached through the one that it is connected to, and through the other when that dies")
	needWGQuick(t)
	m := harness.NewMesh(t, 3)
	one, two, other := m.Machines[0], m.Machines[1], m.Machines[2]
	m.Start()
	m.AwaitUp()
	phone := m.Add("phone")
	file := filepath.Join(t.TempDir(), "phone.conf")
	peer := one.CLI.Run("invite", "--wireguard", "phone", "--via", two.Name, "--print", file)
	second := strings.TrimSuffix(file, ".conf") + "-2.conf"
	one.Files.WantConfig(t, m.Config)
	address := netip.MustParsePrefix(setting(t, one.Files.Read(file), "Address")).Addr()
	for _, machine := range m.Machines[:2] {
		forwardIPv6(t, machine)
		machine.Agent.AwaitAfter(func() { machine.Files.WriteConfig(m.Config + peer) }, "+ peer ")
	}

	wgQuick(t, phone, "up", file)
	phone.Packets.Ping(other.API.MeshAddress())
	other.Packets.Ping(address)
	two.Packets.Ping(address)
	awaitCarrier(other, one, address)

	t.Run("it moves to the other machine", func(t *testing.T) {
		wgQuick(t, phone, "down", file)
		wgQuick(t, phone, "up", second)
		phone.Packets.Ping(two.API.MeshAddress())
		awaitCarrier(other, two, address)
		awaitCarrier(one, two, address)
		other.Packets.Ping(address)
		one.Packets.Ping(address)
		phone.Packets.Ping(other.API.MeshAddress())
	})
	t.Run("that machine dies", func(t *testing.T) {
		two.Agent.Kill()
		two.Exec.Nodecmd("delete-link")
		wgQuick(t, phone, "down", second)
		wgQuick(t, phone, "up", file)
		phone.Packets.Ping(one.API.MeshAddress())
		awaitCarrier(other, one, address)
		other.Packets.Ping(address)
		phone.Packets.Ping(other.API.MeshAddress())
	})
}

// awaitCarrier waits until a machine sends packets to an address through another.
func awaitCarrier(machine, through *harness.Machine, address netip.Addr) {
	prefix := netip.PrefixFrom(address, address.BitLen()).String()
	machine.API.Await("kubespanpeerspecs", func(specs harness.Specs) bool {
		for _, spec := range specs {
			allowed, _ := spec["allowedIPs"].([]any)
			if spec["label"] == through.Name {
				return slices.Contains(allowed, any(prefix))
			}
		}
		return false
	})
}

func forwardIPv6(t *testing.T, machine *harness.Machine) {
	t.Helper()
	if err := machine.Write("/proc/sys/net/ipv6/conf/all/forwarding", "1"); err != nil {
		t.Fatal(err)
	}
}

// setting returns the value of a setting in a file of wg-quick.
func setting(t *testing.T, text, name string) string {
	t.Helper()
	for line := range strings.Lines(text) {
		if value, is := strings.CutPrefix(strings.TrimSpace(line), name+" = "); is {
			return value
		}
	}
	t.Fatalf("there is no %s", name)
	return ""
}

func needWGQuick(t *testing.T) {
	t.Helper()
	for _, program := range []string{"wg-quick", "wg", "ip"} {
		if _, err := exec.LookPath(program); err != nil {
			harness.Unavailable(t, "there is no "+program+": run `tools/setup test`")
		}
	}
}

// wgQuick runs wg-quick(8) on a machine. Where the kernel has no WireGuard, it starts the one of the
// test program.
func wgQuick(t *testing.T, machine *harness.Machine, verb, file string) {
	t.Helper()
	cmd := machine.Command(harness.Context(t), "wg-quick", verb, file)
	if !harness.InGuest() {
		cmd.Env = append(cmd.Env, "WG_QUICK_USERSPACE_IMPLEMENTATION="+userspace(t, machine))
	}
	if o := machine.Exec.Finish(cmd); o.Status != 0 {
		t.Fatalf("wg-quick %s: status %d\n%s%s", verb, o.Status, o.Stdout, o.Stderr)
	}
}

// userspace writes a script that starts WireGuard for a link, and ends once the link is there.
func userspace(t *testing.T, machine *harness.Machine) string {
	t.Helper()
	cmd, err := machine.Subcommand(t.Context(), "wireguard-go")
	if err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\nset -e\nready=$0.$1\nmkfifo $ready\n%s %q \"$1\" >$ready 2>/dev/null &\nread -r _ <$ready\nrm $ready\n",
		cmd.Env[len(cmd.Env)-1], cmd.Args[len(cmd.Args)-1])
	path := filepath.Join(t.TempDir(), "wireguard-go")
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}
