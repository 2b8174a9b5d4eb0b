package e2e_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// keepPinging streams pings between the first two machines while do works, and
// expects that none is lost.
func (m *mesh) keepPinging(do func()) {
	t := m.machines[0].t
	t.Helper()
	pinging, err := m.machines[0].KeepPinging(withPatience(t), m.machines[1].meshAddress())
	if err != nil {
		t.Fatal(err)
	}
	do()
	pings, err := pinging.Stop()
	if err != nil {
		t.Fatal(err)
	}
	if pings.Lost() != 0 || pings.Sent == 0 {
		t.Errorf("%d of %d pings were lost", pings.Lost(), pings.Sent)
	}
}

func TestEditIsReloadedWithoutLosingAPacket(t *testing.T) {
	scenario(t, "the config is edited, and no packet is lost")
	m := startMesh(t, 2)
	m.awaitUp()
	node := m.machines[0]
	text := edit(m.config, "mtu: 1380 // the provider's tunnel takes 40")
	m.keepPinging(func() {
		node.after(func() { node.write(text) }, "mtu 1420 -> 1380")
	})
	node.awaitClean()
	if now, err := os.ReadFile(node.Config()); err != nil || string(now) != text {
		t.Errorf("the config file is not what was written: %v\n%s", err, now)
	}

	t.Run("also when the file is written in place", func(t *testing.T) {
		node.after(func() {
			if err := os.WriteFile(node.Config(), []byte(m.config), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "mtu 1380 -> 1420")
	})
	t.Run("also when the file is a link into another directory", func(t *testing.T) {
		elsewhere := filepath.Join(node.Dir, "elsewhere")
		if err := os.Mkdir(elsewhere, 0o700); err != nil {
			t.Fatal(err)
		}
		target := filepath.Join(elsewhere, "m.cue")
		if err := os.WriteFile(target, []byte(edit(m.config, "mtu: 1390")), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(node.Config()); err != nil {
			t.Fatal(err)
		}
		node.after(func() {
			if err := os.Symlink(target, node.Config()); err != nil {
				t.Fatal(err)
			}
		}, "mtu 1420 -> 1390")
		node.after(func() {
			if err := os.WriteFile(target, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "mtu 1390 -> 1380")
	})
}

func TestInvalidEditLeavesTheLastGoodConfigInForce(t *testing.T) {
	scenario(t, "the config is broken by an edit")
	m := startMesh(t, 2)
	m.awaitUp()
	node := m.machines[0]
	bad := edit(m.config, "mtu: 1000")
	m.keepPinging(func() {
		// As a file is that an editor, or a shell's ">", is about to write.
		node.after(func() { node.write("") }, "machine.cue:1:1: is empty")
		node.after(func() { node.write(bad) }, "machine.cue:5:2: machine.network.kubespan.mtu: 1000: is out of range")
	})
	if o := node.try("diff"); o.status != 0 || !strings.Contains(o.stderr, "is out of range") {
		t.Errorf("diff against the config in force: status %d\n%s%s", o.status, o.stdout, o.stderr)
	}
	if o := node.try("reload"); o.status != 1 || !strings.Contains(o.stderr, "is out of range") {
		t.Errorf("reload of a bad config: status %d\n%s", o.status, o.stderr)
	}
	if o := node.try("apply", "-f", node.Config(), "--immediate"); o.status != 1 || !strings.Contains(o.stderr, "is out of range") {
		t.Errorf("apply of a bad config: status %d\n%s", o.status, o.stderr)
	}

	t.Run("a restart begins with the last good config", func(t *testing.T) {
		if err := node.agent.Stop(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		node.startAgent()
		node.await(node.agent, "starting with the last good config instead")
		node.awaitUp(1)
		node.awaitClean()
		m.machines[1].ping(node.meshAddress())
	})
	t.Run("a good edit is in force again", func(t *testing.T) {
		node.after(func() { node.write(edit(m.config, "mtu: 1400")) }, "mtu 1420 -> 1400")
		if o := node.try("diff"); strings.Contains(o.stderr, "is out of range") {
			t.Errorf("the fault is still told:\n%s", o.stderr)
		}
	})
}

func TestApply(t *testing.T) {
	m := startMesh(t, 2)
	m.awaitUp()
	node := m.machines[0]
	text := "// kept byte for byte   \n" + edit(m.config, "mtu: 1390")
	file := node.file("new.cue", text)

	t.Run("dry run changes nothing", func(t *testing.T) {
		if out := node.run("apply", "-f", file, "--dry-run"); !strings.Contains(out, "mtu 1420 -> 1390") {
			t.Errorf("the plan is:\n%s", out)
		}
		if now, _ := os.ReadFile(node.Config()); string(now) != m.config {
			t.Error("the config was stored")
		}
		node.awaitClean()
	})
	t.Run("diff with a file is the same plan", func(t *testing.T) {
		if o := node.try("diff", "-f", file); o.status != 1 || !strings.Contains(o.stdout, "\n link kubespan\n-  mtu 1420\n+  mtu 1390\n") {
			t.Errorf("status %d\n%s%s", o.status, o.stdout, o.stderr)
		}
		if o := node.try("diff", "-f", file, "-o", "json"); o.status != 1 || !strings.Contains(o.stdout, `"to": "1390"`) {
			t.Errorf("status %d\n%s%s", o.status, o.stdout, o.stderr)
		}
	})
	t.Run("without --immediate it waits", func(t *testing.T) {
		var o outcome
		node.after(func() { o = node.try("apply", "-f", file) }, "holds a config for the next start")
		if o.status != 0 || !strings.Contains(o.stderr, "not in force yet") {
			t.Errorf("status %d\n%s", o.status, o.stderr)
		}
		if now, _ := os.ReadFile(node.Config()); string(now) != text {
			t.Errorf("stored was:\n%s", now)
		}
		node.awaitClean()
		if out := node.run("reload"); !strings.Contains(out, "mtu 1420 -> 1390") {
			t.Errorf("reload did:\n%s", out)
		}
	})
	t.Run("--immediate prints what was done", func(t *testing.T) {
		back := node.file("back.cue", m.config)
		if out := node.run("apply", "-f", back, "--immediate"); !strings.Contains(out, "mtu 1390 -> 1420") {
			t.Errorf("it did:\n%s", out)
		}
	})
	t.Run("YAML is stored as YAML", func(t *testing.T) {
		yaml := node.file("new.yaml", "# as talosctl users have it\n"+m.yaml())
		if out := node.run("apply", "-f", yaml, "--immediate"); out != "no changes\n" {
			t.Errorf("the same config in YAML changed:\n%s", out)
		}
		stored := strings.TrimSuffix(node.Config(), ".cue") + ".yaml"
		if now, err := os.ReadFile(stored); err != nil || !strings.HasPrefix(string(now), "# as talosctl") {
			t.Errorf("stored was: %v\n%s", err, now)
		}
		if _, err := os.Stat(node.Config()); err == nil {
			t.Error("the config in CUE is still there")
		}
		// An edit of that file counts, when the whole of it is there: the first piece alone
		// is the config of a machine that looks for its cluster elsewhere.
		edited := strings.Replace(m.yaml(), "enabled: true", "enabled: true\n            mtu: 1400", 1)
		cut := strings.Index(edited, "        registries:")
		file, err := os.OpenFile(stored, os.O_WRONLY|os.O_TRUNC, 0)
		if err != nil {
			t.Fatal(err)
		}
		write := func(piece string) {
			if _, err := file.WriteString(piece); err != nil {
				t.Fatal(err)
			}
		}
		from := len(node.agent.Output())
		write(edited[:cut])
		soon, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := node.agent.Await(soon, from, "the config file changed"); err == nil {
			t.Error("it did not wait for the rest of the file")
		}
		node.after(func() {
			write(edited[cut:])
			if err := file.Close(); err != nil {
				t.Fatal(err)
			}
		}, "mtu 1420 -> 1400")
	})
}

// yaml is the mesh's config in YAML.
func (m *mesh) yaml() string {
	return `machine:
    network:
        kubespan:
            enabled: true
cluster:
    id: ` + m.value("id") + `
    secret: ` + m.value("secret") + `
    discovery:
        enabled: true
        registries:
            service:
                endpoint: ` + m.endpoint() + `
`
}

// TestSecondApplyWritesNothing listens to the kernel while a config is applied
// that is in force already, with an agent and without.
func TestSecondApplyWritesNothing(t *testing.T) {
	scenario(t, "a second apply writes nothing to the kernel")
	m := startMesh(t, 3)
	m.awaitUp()
	node := m.machines[0]
	node.awaitClean()
	monitor := node.startRole("monitor")
	for range 2 {
		if out := node.run("apply", "-f", node.Config(), "--immediate"); out != "no changes\n" {
			t.Errorf("with an agent, it changed:\n%s", out)
		}
	}
	if err := node.agent.Stop(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if out := node.run("apply", "-f", node.Config(), "--immediate"); out != "no changes\n" {
			t.Errorf("without an agent, it changed:\n%s", out)
		}
	}
	if err := monitor.Stop(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if said := monitor.Output(); said != roleReady {
		t.Errorf("the kernel told of changes:\n%s", said)
	}

	t.Run("the monitor hears a change", func(t *testing.T) {
		monitor := node.startRole("monitor")
		node.run("apply", "-f", node.file("other.cue", edit(m.config, "mtu: 1400")), "--immediate")
		node.await(monitor, "netlink 0: message")
		node.await(monitor, "netlink 12: message")
	})
}
