package ui_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/spanmesh/span/e2e/internal/harness"
)

// browser is a page in a Chromium of its own.
type browser struct {
	t   testing.TB
	ctx context.Context

	mu sync.Mutex
	// requests are the URLs that the page asked for.
	requests []string
	// problems are errors in the console, and violations of the page's policies.
	problems []string
}

// A policy that is violated is an event of the document.
const reportViolations = `addEventListener("securitypolicyviolation", (e) => console.error("violation", e.violatedDirective, e.blockedURI))`

// startBrowser starts Chromium in this process's namespaces, which have no route out.
func startBrowser(t testing.TB) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("chromium is missing: install Debian's package of that name")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.UserDataDir(t.TempDir()), chromedp.Flag("disable-component-update", true), chromedp.WSURLReadTimeout(harness.Patience))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &browser{t: t, ctx: ctx}
	if err := chromedp.Listen(ctx, b.listen); err != nil {
		t.Fatal(err)
	}
	command(b, network.Enable, network.EnableParams{})
	command(b, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: reportViolations})
	return b
}

func (b *browser) listen(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, e.Request.URL)
	case *network.EventWebSocketCreated:
		b.requests = append(b.requests, e.URL)
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			text += " " + e.ExceptionDetails.Exception.Description
		}
		b.problems = append(b.problems, text)
	case *runtime.EventConsoleAPICalled:
		if e.Type != runtime.ConsoleAPICalledTypeError && e.Type != runtime.ConsoleAPICalledTypeWarning {
			return
		}
		var words []string
		for _, a := range e.Args {
			words = append(words, string(a.Value)+a.Description)
		}
		b.problems = append(b.problems, strings.Join(words, " "))
	case *cdplog.EventEntryAdded:
		if e.Entry.Level == cdplog.EntryLevelError || e.Entry.Level == cdplog.EntryLevelWarning {
			b.problems = append(b.problems, e.Entry.Text+" "+e.Entry.URL)
		}
	}
}

// takeProblems returns the problems so far, and forgets them.
func (b *browser) takeProblems() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	problems := b.problems
	b.problems = nil
	return problems
}

// command calls a command of the browser.
func command[P, R any](b *browser, do cdp.Command[P, R], params P) R {
	b.t.Helper()
	result, err := chromedp.Call(b.ctx, do, params)
	if err != nil {
		b.t.Fatalf("%s: %v", do.Method, err)
	}
	return result
}

// run carries out an action.
func run[T any](b *browser, action chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, harness.Patience)
	defer cancel()
	result, err := chromedp.Run(ctx, action)
	if err != nil {
		text, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string]("document.body.innerText")) // it helps to see why, if it is there
		b.t.Fatalf("%v\nthe page has\n%s", err, text)
	}
	return result
}

// evaluate evaluates an expression in the page, waits for what it promises, and returns that. A
// debugger's expressions are not subject to the page's policy.
func evaluate[T any](b *browser, expression string) T {
	b.t.Helper()
	return run(b, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// await waits until an expression is true in the page, which it becomes by a change of the document.
func (b *browser) await(condition string) {
	b.t.Helper()
	evaluate[bool](b, promise(condition))
}

// promise returns an expression that promises that a condition becomes true.
func promise(condition string) string {
	return `new Promise((done) => {
		const look = () => { if (` + condition + `) { observer.disconnect(); done(true); } };
		const observer = new MutationObserver(look);
		observer.observe(document, { subtree: true, childList: true, characterData: true, attributes: true });
		look();
	})`
}

// show goes to a view, and waits for it and what it loads.
func (b *browser) show(view string) {
	b.t.Helper()
	evaluate[bool](b, `location.hash = "#/`+view+`", true`)
	b.await(`document.querySelector("nav [aria-current=page]")?.textContent.toLowerCase() === "` + strings.Split(view, "/")[0] + `"`)
	b.await(`![...document.querySelectorAll("main .muted")].some((e) => e.textContent === "…")`)
}

// click clicks the button with a text, once it can be used.
func (b *browser) click(text string) {
	b.t.Helper()
	button := `[...document.querySelectorAll("main button")].find((e) => e.textContent === "` + text + `" && !e.disabled)`
	b.await(button)
	evaluate[bool](b, button+`.click(), true`)
}

// agree answers the question that is asked.
func (b *browser) agree() {
	b.t.Helper()
	b.await(`document.querySelector("dialog[open] .primary")`)
	evaluate[bool](b, `document.querySelector("dialog[open] .primary").click(), true`)
}

// look sets the width of the window in pixels and the scheme of colors: "light" or "dark".
func (b *browser) look(width int64, scheme string) {
	b.t.Helper()
	command(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 900, DeviceScaleFactor: 1})
	command(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
	evaluate[bool](b, `matchMedia("(prefers-color-scheme: `+scheme+`)").matches && new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))`)
}

// violation is what axe found.
type violation struct {
	ID, Impact, Help string
	Nodes            []struct {
		HTML           string
		FailureSummary string
	}
}

func (v violation) String() string {
	text := fmt.Sprintf("%s (%s): %s", v.ID, v.Impact, v.Help)
	for _, n := range v.Nodes[:min(len(v.Nodes), 3)] {
		text += fmt.Sprintf("\n  %.200s\n  %s", n.HTML, n.FailureSummary)
	}
	return text
}

// axeSHA256 is the hash of testdata/axe/axe.min.js.
const axeSHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"

// loadAxe loads axe into the page.
func (b *browser) loadAxe() {
	b.t.Helper()
	axe, err := os.ReadFile("testdata/axe/axe.min.js")
	if err != nil {
		b.t.Fatal(err)
	}
	if sum := sha256.Sum256(axe); hex.EncodeToString(sum[:]) != axeSHA256 {
		b.t.Fatalf("testdata/axe is another one: %x", sum)
	}
	evaluate[bool](b, string(axe)+"\ntrue")
}

// violations runs axe on the page.
func (b *browser) violations() (found []violation) {
	b.t.Helper()
	text := evaluate[string](b, `axe.run(document, { preload: false, resultTypes: ["violations"] }).then((r) => JSON.stringify(r.violations))`)
	if err := json.Unmarshal([]byte(text), &found); err != nil {
		b.t.Fatal(err)
	}
	return found
}
