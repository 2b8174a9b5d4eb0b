package ui_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"go.yaml.in/yaml/v3"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/internal/trouble"
)

// views are those of the page.
var views = []string{"overview", "matrix", "graph", "history", "events", "config"}

// TestPage shows a mesh of five in Chromium.
func TestPage(t *testing.T) {
	harness.Scenario(t, "the page in Chromium: a peer that is cut is shown within three seconds; nothing is loaded from elsewhere, and axe finds nothing")
	m := startMesh(t)
	opened := m.desktop(t)
	ui, address := m.serve(t, "--open", "-n", "node-2,node-3,node-4,node-5")
	b := startBrowser(t)
	origin, _, _ := strings.Cut(address, "?")
	b.look(1280, "light")
	// The file leads to the page that takes the token, which leads to the page.
	run(b, chromedp.Navigate("file://"+opened()))
	run(b, chromedp.WaitVisible("#app main"))

	t.Run("all machines are shown", func(t *testing.T) {
		b.t = t
		b.show("matrix")
		b.await(`document.querySelectorAll("main table td.up").length === 20`)
		b.await(`document.querySelectorAll(".machines li").length === 5`)
	})
	t.Run("a peer that is cut is shown within three seconds", func(t *testing.T) {
		b.t = t
		m.cut(t, b)
		b.show("overview")
		b.await(`document.querySelector(".conditions")?.innerText.includes("PeerDown")`)
	})
	t.Run("axe finds nothing, in light and dark", func(t *testing.T) {
		b.t = t
		b.loadAxe()
		// It would find something.
		if n := evaluate[int](b, `(() => {
			const image = new Image();
			document.getElementById("main").append(image);
			return axe.run(document, { preload: false }).then((r) => { image.remove(); return r.violations.length; });
		})()`); n == 0 {
			t.Error("an image without a text is no violation")
		}
		for _, look := range []struct {
			width  int64
			scheme string
		}{{1280, "light"}, {1280, "dark"}, {390, "light"}} {
			b.look(look.width, look.scheme)
			for _, view := range append(views, "overview/local") {
				b.show(view)
				for _, v := range b.violations() {
					t.Errorf("%s, %s, %d px wide: %s", view, look.scheme, look.width, v)
				}
			}
		}
	})
	t.Run("screenshots", func(t *testing.T) {
		b.t = t
		for _, s := range []struct {
			name, view, scheme string
			width              int64
		}{{"light", "overview", "light", 1280}, {"dark", "matrix", "dark", 1280}, {"narrow", "overview", "light", 390}} {
			b.look(s.width, s.scheme)
			b.show(s.view)
			if wide := evaluate[int64](b, `document.documentElement.scrollWidth`); wide > s.width {
				t.Errorf("%s is %d px wide on a screen of %d", s.view, wide, s.width)
			}
			picture := run(b, chromedp.CaptureScreenshot())
			if os.Getenv("UPDATE") == "" {
				continue
			}
			if err := os.WriteFile(filepath.Join(harness.Root(t), "docs/images/ui-"+s.name+".png"), picture, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		b.look(1280, "light")
	})
	t.Run("the peer returns", func(t *testing.T) {
		b.t = t
		trouble.PassUDP(m.Machines[2])
		b.show("matrix")
		b.await(`document.querySelectorAll("main table td.up").length === 20`)
	})
	t.Run("an agent that is away, and returns", func(t *testing.T) {
		b.t = t
		b.show("matrix")
		for i, id := range []string{"local", "node-2"} {
			chip := `document.querySelector(".machines a.chip[href$='/` + id + `']")?.innerText`
			m.Machines[i].Agent.Terminate()
			b.await(chip + `.includes("no agent")`)
			m.Machines[i].Agent.Start()
			b.await(chip + `.match(/healthy|degraded/)`)
		}
		m.AwaitUp()
		b.await(`document.querySelectorAll("main table td.up").length === 20`)
	})
	t.Run("no answer has a secret", func(t *testing.T) {
		b.t = t
		m.wantNoSecrets(t, b)
	})
	t.Run("nothing is loaded from elsewhere, and nothing is wrong in the console", func(t *testing.T) {
		b.t = t
		if problems := b.takeProblems(); len(problems) > 0 {
			t.Errorf("the console has\n%s", strings.Join(problems, "\n"))
		}
		if len(b.requests) < 10 {
			t.Errorf("only %d requests were seen", len(b.requests))
		}
		for _, url := range b.requests {
			if !strings.HasPrefix(url, origin) && !strings.HasPrefix(url, "data:") && !strings.HasPrefix(url, "file:") {
				t.Errorf("the page asked for %s", url)
			}
		}
		// What watches for violations sees one.
		evaluate[bool](b, `new Promise((done) => { const i = new Image(); i.onerror = () => done(true); i.src = "http://127.0.0.1:1/x.png"; })`)
		if problems := strings.Join(b.takeProblems(), "\n"); !strings.Contains(problems, "img-src") {
			t.Errorf("an image of another server is no violation: %s", problems)
		}
	})
	t.Run("the command ends while the page is open", func(t *testing.T) {
		b.t = t
		ui.Interrupt()
		b.await(`document.querySelector("[role=alert]")?.innerText.includes("Not connected")`)
	})
	t.Run("a config is tried, confirmed and rolled back", func(t *testing.T) {
		b.t = t
		b.takeProblems() // the server before is gone
		m.change(t, b)
	})
}

// change has a page that may write try a config that it shows, keep it, and return to the one before.
func (m *mesh) change(t *testing.T, b *browser) {
	t.Helper()
	machine := m.Machines[0]
	changed := harness.Edit(m.Config, "mtu: 1390")
	ui, address := m.serve(t, "--write")
	run(b, chromedp.Navigate(address))
	run(b, chromedp.WaitVisible("#app main"))
	b.show("config")
	b.await(`document.querySelector(".editor textarea")`)
	text := evaluate[string](b, `(() => {
		document.querySelector(".editor").open = true;
		const area = document.querySelector(".editor textarea"), shown = area.value;
		area.value = shown.replace("enabled: true\n", "enabled: true\n\tmtu: 1390\n");
		area.dispatchEvent(new Event("input", { bubbles: true }));
		return shown;
	})()`)
	if want := strings.ReplaceAll(m.Config, m.Value("secret"), "(hidden)"); text != want {
		t.Fatalf("the config is shown as\n%s\nwant\n%s", text, want)
	}
	b.click("Show the plan")
	b.await(`document.querySelector(".result")?.innerText.includes("Dry run: done") && document.querySelector(".result .plan")?.innerText.includes("1390")`)
	machine.Files.WantConfig(t, m.Config)

	b.click("Try for a minute")
	b.loadAxe()
	for _, v := range b.violations() {
		t.Errorf("the question: %s", v)
	}
	b.agree()
	b.await(`document.querySelector(".result")?.innerText.includes("On trial until")`)
	machine.Files.WantConfig(t, changed)
	b.click("Confirm the trial")
	b.agree()
	b.await(`document.querySelector(".result")?.innerText.includes("Confirm: done")`)
	machine.Files.WantConfig(t, changed)

	b.click("Roll back to 1")
	b.agree()
	b.await(`document.querySelector(".result")?.innerText.includes("Roll back to 1: done")`)
	machine.Files.WantConfig(t, m.Config)
	machine.CLI.AwaitNoDiff()
	if problems := b.takeProblems(); len(problems) > 0 {
		t.Errorf("the console has\n%s", strings.Join(problems, "\n"))
	}
	ui.Interrupt()
}

// wantNoSecrets has the page ask for everything, and looks for the secrets of the machines.
func (m *mesh) wantNoSecrets(t *testing.T, b *browser) {
	t.Helper()
	secrets := []string{m.Value("secret")}
	for _, machine := range m.Machines {
		var identity struct {
			PrivateKey string `yaml:"privateKey"`
		}
		text, err := os.ReadFile(filepath.Join(machine.StateDir(), "kubespan-identity.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(text, &identity); err != nil || identity.PrivateKey == "" {
			t.Fatalf("the private key cannot be read: %v", err)
		}
		secrets = append(secrets, identity.PrivateKey)
	}
	text := evaluate[string](b, `(async () => {
		const { machines } = await (await fetch("/api/session")).json();
		let all = "";
		for (const { id } of machines) {
			for (const what of ["config", "diff", "history", "samples?span=hour", "samples?span=day"]) {
				const answer = await fetch("/api/machines/" + encodeURIComponent(id) + "/" + what);
				all += answer.status + " " + what + " " + await answer.text();
			}
		}
		const reader = (await fetch("/api/stream")).body.getReader();
		const decoder = new TextDecoder();
		for (let stream = ""; stream.split("event: health").length <= machines.length; all += stream) {
			stream += decoder.decode((await reader.read()).value, { stream: true });
		}
		await reader.cancel();
		return all;
	})()`)
	for _, want := range []string{"(hidden)", "kubespan", `"state":"healthy"`, `"revisions":[{"number":1`} {
		if !strings.Contains(text, want) {
			t.Errorf("the answers have no %s: %.2000s", want, text)
		}
	}
	if n := strings.Count(text, "200 "); n < 25 {
		t.Errorf("%d answers of 25 are whole: %.2000s", n, text)
	}
	for i, secret := range secrets {
		if strings.Contains(text, secret) {
			t.Errorf("the answers have secret %d", i)
		}
	}
}
