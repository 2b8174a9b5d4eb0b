package agent

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/schema"
)

// newAgentBench is newBench in which configs are in force as in an agent.
func newAgentBench(t *testing.T) *bench {
	b := newBench(t)
	b.configs.takes = func(*schema.Config) bool { return true }
	b.configs.news = make(chan struct{}, 1)
	return b
}

// judged returns what is known of the file once the watch has handled it.
func (b *bench) judged(t *testing.T) health.Config {
	t.Helper()
	b.configs.changed(t.Context(), isWhole)
	c, _, err := b.configs.judge(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConfigOfAnAgentIsKnown(t *testing.T) {
	b := newAgentBench(t)
	path := b.configs.file.Path()
	if c := b.judged(t); !c.Missing || c.Path != path {
		t.Errorf("without a file it is %+v", c)
	}
	for _, step := range []struct {
		name string
		do   func() error
		want string
	}{
		{"staged, and none in force", func() error { _, err := b.do(t, agentpb.ApplyMode_APPLY_MODE_STAGED, "1300"); return err }, "holds a config that is not in force"},
		{"in force", func() error { _, err := b.configs.reload(t.Context()); return err }, ""},
		{"staged", func() error { _, err := b.do(t, agentpb.ApplyMode_APPLY_MODE_STAGED, "1310"); return err }, "holds a config that is not in force"},
		{"edited", func() error { return os.WriteFile(path, withMTU("1320"), 0o600) }, ""},
		{"not valid", func() error { return os.WriteFile(path, withMTU("1000"), 0o600) }, "machine.cue:1:46: machine.network.kubespan.mtu: 1000: is out of range"},
		{"mended", func() error { return os.WriteFile(path, withMTU("1320"), 0o600) }, ""},
		{"deleted", func() error { return os.Remove(path) }, "there is no config at"},
		{"applied anew", func() error { _, err := b.do(t, agentpb.ApplyMode_APPLY_MODE_IMMEDIATE, "1330"); return err }, ""},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		c := b.judged(t)
		if got := c.Fault(); step.want == "" && got != "" || !strings.Contains(got, step.want) {
			t.Errorf("%s: the fault is %q, want %q", step.name, got, step.want)
		}
		if text := b.configs.faultText(t.Context(), time.Minute); text != c.Fault() {
			t.Errorf("%s: diff says %q, the conditions %q", step.name, text, c.Fault())
		}
	}
}

func TestTrialIsKnown(t *testing.T) {
	b := newAgentBench(t)
	for _, alone := range []bool{true, false} {
		if _, err := b.do(t, agentpb.ApplyMode_APPLY_MODE_TRY, "1300"); err != nil {
			t.Fatal(err)
		}
		<-b.began
		c := b.judged(t)
		if c.Trial == nil || c.Trial.Alone != alone || time.Until(c.Trial.Ends) > time.Minute || c.Fault() != "" {
			t.Errorf("on trial it is %+v with %+v", c, c.Trial)
		}
		if err := b.configs.confirm(t.Context()); err != nil {
			t.Fatal(err)
		}
		if c := b.judged(t); c.Trial != nil || c.Since.IsZero() {
			t.Errorf("once it is confirmed, it is %+v", c)
		}
	}
}

// TestNewContentIsNotJudgedBeforeItIsHandled has an edit that the watch has not seen yet: it is
// neither staged nor refused.
func TestNewContentIsNotJudgedBeforeItIsHandled(t *testing.T) {
	b := newAgentBench(t)
	if _, err := b.do(t, agentpb.ApplyMode_APPLY_MODE_IMMEDIATE, "1300"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.configs.file.Path(), withMTU("1310"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, _, err := b.configs.judge(t.Context()); err == nil {
		t.Errorf("it is %+v", c)
	}
	if c := b.judged(t); c.Fault() != "" {
		t.Errorf("once it is handled, it is %+v", c)
	}
}

func TestSecretOfAnInvalidFileIsNotTold(t *testing.T) {
	b := newAgentBench(t)
	const secret = "c2VjcmV0LXRoYXQtbm9ib2R5LW1heS1zZWUtaGVyZQ"
	for _, text := range []string{
		"cluster: {id: \"a\", secret: \"" + secret + "\"}\nmachine: network: kubespan: enabled: true\n",
		"cluster: secret: \"" + secret + "\nmachine: network: kubespan: enabled: true\n",
		"cluster: {secret: \"" + secret + "\", secrets: 1}\n",
	} {
		if err := os.WriteFile(b.configs.file.Path(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c := b.judged(t)
		if c.Fault() == "" || strings.Contains(c.Fault(), secret) {
			t.Errorf("the fault is %q", c.Fault())
		}
	}
}

// TestKnownHasTheFilesWithSecrets has a config with a secret in it, and one with a secret elsewhere.
func TestKnownHasTheFilesWithSecrets(t *testing.T) {
	b := newAgentBench(t)
	path := b.configs.file.Path()
	elsewhere := filepath.Join(t.TempDir(), "secret")
	const key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	if err := os.WriteFile(elsewhere, []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	for source, want := range map[string]string{
		`"` + key + `"`:               path,
		`{file: "` + elsewhere + `"}`: elsewhere,
	} {
		text := "cluster: {id: \"" + key + "\", secret: " + source + "}\nmachine: network: kubespan: enabled: false\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		b.configs.changed(t.Context(), isWhole)
		c, files, err := b.configs.judge(t.Context())
		if err != nil || c.Fault() != "" {
			t.Fatalf("%s: %+v (%v)", source, c, err)
		}
		if len(files) != 1 || files[0].Path != want || files[0].Use != health.SecretFile {
			t.Errorf("the files are %+v, want %s", files, want)
		}
	}
}

// TestPrivateFilesOfACommand has what a command sees of them: as much as the agent.
func TestPrivateFilesOfACommand(t *testing.T) {
	root := t.TempDir()
	state, config := filepath.Join(root, "state"), filepath.Join(root, "machine.cue")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(state, "kubespan-identity.yaml")
	for path, mode := range map[string]os.FileMode{config: 0o640, key: 0o604} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	files := PrivateFiles(config, nil, state, filepath.Join(root, "sock"))
	if !slices.Contains(files, health.File{Path: config, Mode: 0o640}) || !slices.Contains(files, health.File{Path: key, Mode: 0o604, Use: health.KeyFile}) {
		t.Errorf("the files are %+v", files)
	}
	if found := health.JudgeFiles(files); len(found) != 1 || found[0].Subject != key {
		t.Errorf("found %+v", found)
	}
	if files = PrivateFiles(root+"/none/machine.cue", nil, root+"/none", root+"/none/sock"); len(files) != 0 {
		t.Errorf("files that are missing are %+v", files)
	}
}

// TestKnownIsToldWhenItChanges follows the config as an agent does.
func TestKnownIsToldWhenItChanges(t *testing.T) {
	b := newAgentBench(t)
	ctx, stop := context.WithCancel(t.Context())
	reports, ended := make(chan health.Known), make(chan struct{})
	go func() {
		defer close(ended)
		b.configs.keepKnown(ctx, filepath.Join(t.TempDir(), "sock"), func(k health.Known) {
			select {
			case reports <- k:
			case <-ctx.Done():
			}
		})
	}()
	await := func(what string, is func(health.Known) bool) {
		t.Helper()
		for k := range reports {
			if k.Config != nil && is(k) {
				return
			}
		}
		t.Fatal(what)
	}
	await("missing", func(k health.Known) bool { return k.Config.Missing })
	go func() { _, _ = b.do(t, agentpb.ApplyMode_APPLY_MODE_TRY, "1300") }()
	await("on trial", func(k health.Known) bool { return k.Config.Trial != nil && !k.Config.Missing })
	go func() { _ = b.configs.confirm(ctx) }()
	await("confirmed", func(k health.Known) bool { return k.Config.Trial == nil && k.Config.Fault() == "" })
	b.configs.changedNow()
	await("the files and the disk", func(k health.Known) bool { return k.Disk.Refusal == 0 && len(k.Files) > 0 })
	stop()
	<-ended
}
