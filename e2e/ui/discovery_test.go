package ui_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/vishvananda/netns"

	"github.com/spanmesh/span/e2e/internal/harness"
)

// dialIn connects to an address from inside of a machine.
func dialIn(ctx context.Context, machine *harness.Machine, address string) (conn net.Conn, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := netns.Get()
	if err != nil {
		return nil, err
	}
	defer func() { _ = own.Close() }()
	return conn, machine.Namespace(func(inside netns.NsHandle) error {
		if err := netns.Set(inside); err != nil {
			return err
		}
		// Without names there is nothing that another thread would do.
		conn, err = new(net.Dialer).DialContext(ctx, "tcp", address)
		if back := netns.Set(own); back != nil {
			panic(back) // the thread is of no use to others
		}
		return err
	})
}

// front passes connections to it on to an address as seen from inside of a machine, and returns its
// own address, which the browser can reach.
func front(t *testing.T, machine *harness.Machine, address string) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			outside, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = outside.Close() }()
				inside, err := dialIn(t.Context(), machine, address)
				if err != nil {
					return // the server is down
				}
				defer func() { _ = inside.Close() }()
				go func() {
					_, _ = io.Copy(inside, outside)
					_ = inside.Close()
				}()
				_, _ = io.Copy(outside, inside)
			}()
		}
	}()
	return listener.Addr().String()
}

// below is a proxy that maps a server to a path of its own.
func below(t *testing.T, address string) string {
	t.Helper()
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: address})
	server := httptest.NewServer(http.StripPrefix("/discovery", proxy))
	t.Cleanup(server.Close)
	return server.URL + "/discovery/"
}

// TestDiscoveryPage shows the page of a discovery server that three agents use.
func TestDiscoveryPage(t *testing.T) {
	harness.Scenario(t, "the discovery server's page in Chromium: it follows what agents do, strangers see no numbers, nothing is loaded from elsewhere, and axe finds nothing")
	m := harness.StartMesh(t, 3)
	m.AwaitUp()
	axe, err := os.ReadFile("testdata/axe/axe.min.js")
	if err != nil {
		t.Fatal(err)
	}
	here := front(t, m.Discovery, "127.0.0.1:"+harness.DiscoveryPort)
	elsewhere := front(t, m.Machines[0], net.JoinHostPort(m.Discovery.Address.String(), harness.DiscoveryPort))
	b := startBrowser(t)
	b.look(1280, "light")
	pass := func(t *testing.T, what string) {
		t.Helper()
		evaluate[bool](b, string(axe)+"\ntrue")
		for _, look := range []struct {
			width  int64
			scheme string
		}{{1280, "light"}, {1280, "dark"}, {390, "light"}, {390, "dark"}} {
			b.look(look.width, look.scheme)
			for _, v := range b.violations() {
				t.Errorf("%s, %s, %d px wide: %s", what, look.scheme, look.width, v)
			}
			if wide := evaluate[int64](b, `document.documentElement.scrollWidth`); wide > look.width {
				t.Errorf("%s is %d px wide on a screen of %d", what, wide, look.width)
			}
		}
		b.look(1280, "light")
		for _, secret := range []string{m.Value("id"), m.Discovery.Address.String(), m.Machines[0].Address.String()} {
			if evaluate[bool](b, fmt.Sprintf(`document.documentElement.outerHTML.includes(%q)`, secret)) {
				t.Errorf("%s has %q", what, secret)
			}
		}
	}
	number := func(name string) string { return `document.querySelector("[data-count=` + name + `] b")?.innerText` }

	t.Run("on the server's machine", func(t *testing.T) {
		b.t = t
		run(b, chromedp.Navigate("http://"+here+"/"))
		b.await(`document.querySelector("main[data-shows=everything] [role=status]")?.innerText === "serving"`)
		for name, want := range map[string]string{"clusters": "1", "affiliates": "3", "watches": "3"} {
			b.await(number(name) + ` === "` + want + `"`)
		}
		m.Call("AffiliateUpdate", fmt.Sprintf(`{"clusterId":%q,"affiliateId":"stranger","affiliateData":"AAEC","ttl":"600s"}`, m.Value("id"))).WantBody(t, http.StatusOK, "")
		b.await(number("affiliates") + ` === "4"`)
		b.await(`document.querySelectorAll("main .chart canvas").length === 3`) // without refusals
		pass(t, "the page")
		evaluate[bool](b, `[...document.querySelectorAll(".spans button")].find((b) => b.innerText === "last day").click(), true`)
		b.await(`document.querySelector("main[data-span=day] [aria-pressed=true]")?.innerText === "last day"`)
	})
	t.Run("elsewhere", func(t *testing.T) {
		b.t = t
		run(b, chromedp.Navigate("http://"+elsewhere+"/"))
		b.await(`document.querySelector("main[data-shows=nothing] [role=status]")?.innerText === "serving"`)
		b.await(`document.querySelector("main pre")?.innerText.includes("ssh -L")`)
		if evaluate[bool](b, `document.querySelector("[data-count]") !== null`) {
			t.Error("a stranger sees numbers")
		}
		pass(t, "a stranger's page")
	})
	t.Run("below a path of a proxy", func(t *testing.T) {
		b.t = t
		run(b, chromedp.Navigate(below(t, here)))
		b.await(`document.querySelector("main[data-shows=nothing] [role=status]")?.innerText === "serving"`)
	})
	t.Run("nothing is loaded from elsewhere, and nothing is wrong in the console", func(t *testing.T) {
		if problems := b.takeProblems(); len(problems) > 0 {
			t.Errorf("the console has\n%s", strings.Join(problems, "\n"))
		}
		if len(b.requests) < 10 {
			t.Errorf("only %d requests were seen", len(b.requests))
		}
		for _, address := range b.requests {
			if !strings.HasPrefix(address, "http://127.0.0.1:") && !strings.HasPrefix(address, "data:") {
				t.Errorf("the page asked for %s", address)
			}
		}
	})
	t.Run("a server that ends, and begins again", func(t *testing.T) {
		b.t = t
		run(b, chromedp.Navigate("http://"+here+"/"))
		b.await(number("watches") + ` === "3"`)
		m.Server.Terminate()
		b.await(`document.querySelector("[role=status]")?.innerText.includes("no answer")`)
		m.Serve()
		b.await(`document.querySelector("[role=status]")?.innerText === "serving"`)
		b.await(number("affiliates") + ` === "3"`)
	})
}
