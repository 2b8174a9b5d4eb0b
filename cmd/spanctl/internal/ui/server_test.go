package ui

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestTokenBecomesACookie(t *testing.T) {
	w := newWorld(t, false)
	u, err := url.Parse(w.server.NewURL())
	if err != nil || w.base != u.Scheme+"://"+u.Host {
		t.Fatalf("the URL is %s, %v", u, err)
	}
	for name, headers := range map[string][]string{"fetched ahead": {"Sec-Purpose", "prefetch"}, "of another host": {"Host", "evil.example"}} {
		if response, _ := w.do(http.MethodGet, u.RequestURI(), "", headers...); response.StatusCode != http.StatusForbidden || response.Header.Get("Set-Cookie") != "" {
			t.Errorf("%s: %s", name, response.Status)
		}
	}
	if response, _ := w.do(http.MethodHead, u.RequestURI(), ""); response.StatusCode != http.StatusForbidden {
		t.Errorf("HEAD: %s", response.Status)
	}
	response, body := w.do(http.MethodGet, u.RequestURI(), "", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document")
	if response.StatusCode != http.StatusOK || response.Header.Get("Refresh") != "0; url=/" || strings.Contains(body, u.Query().Get("token")) {
		t.Errorf("the token is answered with %s, %v\n%s", response.Status, response.Header, body)
	}
	if cookie := response.Header.Get("Set-Cookie"); !strings.HasSuffix(cookie, "; Path=/; HttpOnly; SameSite=Strict") || strings.Contains(cookie, u.Query().Get("token")) {
		t.Errorf("the cookie is %q", cookie)
	}
	if response, _ = w.do(http.MethodGet, "/", ""); response.StatusCode != http.StatusOK {
		t.Errorf("the page is %s", response.Status)
	}
	w.client.Jar = nil
	if response, body = w.do(http.MethodGet, u.RequestURI(), ""); response.StatusCode != http.StatusUnauthorized || !strings.Contains(body, "was used") {
		t.Errorf("the token is answered a second time with %s: %s", response.Status, body)
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	w := newWorld(t, true)
	entered := false
	for _, test := range []struct {
		name, method, path, body string
		headers                  []string
		entered                  bool
		status                   int
	}{
		{name: "the page without a cookie", path: "/", status: 401},
		{name: "a file without a cookie", path: "/app.js", status: 401},
		{name: "the API without a cookie", path: "/api/session", status: 401},
		{name: "the stream without a cookie", path: "/api/stream", status: 401},
		{name: "a write without a cookie", method: "POST", path: "/api/machines/local/reload", headers: []string{"Origin", "own", "Content-Type", "application/json"}, status: 401},
		{name: "a cookie that nobody was given", path: "/", headers: []string{"Cookie", "own=x"}, status: 401},
		{name: "a wrong token", path: "/?token=x", status: 401},
		{name: "an empty token", path: "/?token=", status: 401},

		{name: "a foreign Host", path: "/", headers: []string{"Host", "evil.example"}, entered: true, status: 403},
		{name: "a foreign Origin", path: "/api/session", headers: []string{"Origin", "http://evil.example"}, entered: true, status: 403},
		{name: "another site", path: "/api/session", headers: []string{"Sec-Fetch-Site", "cross-site"}, entered: true, status: 403},
		{name: "a write without an Origin", method: "POST", path: "/api/machines/local/reload", headers: []string{"Content-Type", "application/json"}, entered: true, status: 403},
		{name: "a write with a foreign Origin", method: "POST", path: "/api/machines/local/reload", headers: []string{"Origin", "http://evil.example", "Content-Type", "application/json"}, entered: true, status: 403},
		{name: "a form", method: "POST", path: "/api/machines/local/reload", headers: []string{"Origin", "own", "Content-Type", "text/plain"}, entered: true, status: 415},
		{name: "a write by GET", path: "/api/machines/local/reload", entered: true, status: 404},
		{name: "another method", method: "PUT", path: "/api/machines/local/diff", headers: []string{"Origin", "own"}, entered: true, status: 405},
		{name: "another machine", path: "/api/machines/other/diff", entered: true, status: 404},
		{name: "a path out of the files", path: "/../server.go", entered: true, status: 404},
		{name: "an escaped path out of the files", path: "/%2e%2e/server.go", entered: true, status: 404},
		{name: "a path to other files", path: "/dist/app.js", entered: true, status: 404},
		{name: "a name that means nothing", path: "/api/explain/x", entered: true, status: 404},
		{name: "a span that is not known", path: "/api/machines/local/samples?peer=db1&span=year", entered: true, status: 400},
		{name: "a path out of a machine", path: "/api/machines/%2e%2e%2fx/diff", entered: true, status: 404},
		{name: "a body that is too large", method: "POST", path: "/api/machines/local/apply", body: `{"text":"` + strings.Repeat("x", maxBody) + `","mode":"try"}`, headers: []string{"Origin", "own", "Content-Type", "application/json"}, entered: true, status: 413},
		{name: "no JSON", method: "POST", path: "/api/machines/local/apply", body: `text`, headers: []string{"Origin", "own", "Content-Type", "application/json"}, entered: true, status: 400},
		{name: "a field that is not known", method: "POST", path: "/api/machines/local/reload", body: `{"reveal":true}`, headers: []string{"Origin", "own", "Content-Type", "application/json"}, entered: true, status: 400},
		{name: "a mode that is not known", method: "POST", path: "/api/machines/local/apply", body: `{"mode":"staged"}`, headers: []string{"Origin", "own", "Content-Type", "application/json"}, entered: true, status: 400},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.entered && !entered {
				w.enter()
				entered = true
			}
			method := test.method
			if method == "" {
				method = http.MethodGet
			}
			for i, h := range test.headers {
				if h == "own" {
					test.headers[i] = w.base
				}
			}
			response, body := w.do(method, test.path, test.body, test.headers...)
			if response.StatusCode != test.status {
				t.Errorf("the answer is %s, want %d: %.200s", response.Status, test.status, body)
			}
			for name, value := range answerHeaders {
				if got := response.Header.Get(name); got != value {
					t.Errorf("%s is %q", name, got)
				}
			}
		})
	}
	if n := w.agent.called("Reload"); n != 0 {
		t.Errorf("the agent was told to reload %d times", n)
	}
}

func TestPageIsServed(t *testing.T) {
	w := newWorld(t, false)
	w.enter()
	for path, contentType := range map[string]string{"/": "text/html", "/app.js": "text/javascript", "/app.css": "text/css", "/favicon.svg": "image/svg+xml", "/api/session": "application/json"} {
		response, body := w.do(http.MethodGet, path, "")
		if response.StatusCode != http.StatusOK || !strings.HasPrefix(response.Header.Get("Content-Type"), contentType) || body == "" {
			t.Errorf("%s is %s, %s", path, response.Status, response.Header.Get("Content-Type"))
		}
		for name, value := range answerHeaders {
			if got := response.Header.Get(name); got != value {
				t.Errorf("%s: %s is %q", path, name, got)
			}
		}
	}
}

func TestAnswersHaveNoSecrets(t *testing.T) {
	w := newWorld(t, true)
	w.enter()
	for path, want := range map[string]string{
		"/api/session":                `{"version":"v1","write":true,"machines":[{"id":"local","name":"local"}]}`,
		"/api/machines/local/config":  `"text":"// mine\ncluster: secret: \"(hidden)\"\n","editable":true,"revision":7`,
		"/api/machines/local/diff":    `"+route"`,
		"/api/explain/PeerDown":       `{"text":"It was up, and is down."}`,
		"/api/machines/local/history": `"number":7`,

		"/api/machines/local/samples?peer=db%201&span=day": `"peers":[{"name":"db 1"`,
	} {
		if response, body := w.do(http.MethodGet, path, ""); response.StatusCode != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s is %s: %s", path, response.Status, body)
		}
	}
	// What the page shows can be applied as it is, and comes back without secrets.
	if status, body := w.post("/api/machines/local/apply", `{"text":"cluster: secret: \"(hidden)\" // changed\n","mode":"try","revision":7}`); status != http.StatusOK || !strings.Contains(body, "machine.yaml") {
		t.Errorf("apply is %d: %s", status, body)
	}
	if w.agent.called(fmt.Sprintf("Apply page.cue APPLY_MODE_TRY 1m0s %x cluster: secret: \"%s\" // changed\n", sha256.Sum256([]byte(w.agent.written)), planted)) != 1 {
		t.Errorf("the agent was called: %v", w.agent.calls)
	}
	if status, body := w.post("/api/machines/local/apply", `{"text":"cluster: secret: \"(hidden 2)\"\n","mode":"dry-run","revision":7}`); status != http.StatusBadRequest || !strings.Contains(body, "write it in place") {
		t.Errorf("a mark that stands for nothing is %d: %s", status, body)
	}
	// Nothing is made of a secret, and what the agent says of one is not passed on.
	calls := len(w.agent.calls)
	for text, want := range map[string]string{
		`import \"strings\"\ncluster: secret: \"(hidden)\"\nmachine: network: kubespan: interfaceName: strings.Replace(\"(hidden)\", \"=\", \"_\", -1)`: "imports what is not the schema",
		`cluster: secret: \"(hidden)\"\nmachine: network: kubespan: extraAnnouncedEndpoints: [for c in cluster.secret {c}]`:                             "is computed",
		`cluster: secret: \"(hidden)\"\nmachine: network: kubespan: interfaceName: \"(hidden)\"`:                                                        "the whole value of the field",
	} {
		if status, body := w.post("/api/machines/local/apply", `{"text":"`+text+`","mode":"dry-run","revision":7}`); status != http.StatusBadRequest || !strings.Contains(body, want) {
			t.Errorf("%s is %d: %s", text, status, body)
		}
	}
	if len(w.agent.calls) != calls {
		t.Errorf("the agent was called: %v", w.agent.calls)
	}
	for text, want := range map[string]string{"leaks an error": "the key (hidden), in hexadecimal digits (hidden), is bad", "leaks an answer": "+key (hidden)"} {
		_, body := w.post("/api/machines/local/apply", `{"text":"cluster: secret: \"(hidden)\" // `+text+`","mode":"dry-run","revision":7}`)
		if !strings.Contains(body, want) || strings.Contains(body, fmt.Sprintf("%x", planted)) {
			t.Errorf("an agent that %s: %s", text, body)
		}
	}
	if status, body := w.post("/api/machines/local/apply", `{"text":"cluster: {}\n","mode":"immediate","revision":6}`); status != http.StatusConflict || !strings.Contains(body, "another config is in force") {
		t.Errorf("a text made from another config is %d: %s", status, body)
	}
	// A text whose secrets cannot be told from the rest is not shown.
	w.agent.mu.Lock()
	w.agent.written = "cluster: secret: \"" + planted[:20] + "\" + \"" + planted[20:] + "\""
	w.agent.mu.Unlock()
	if _, body := w.do(http.MethodGet, "/api/machines/local/config", ""); !strings.Contains(body, `"text":"{\"cluster\":{\"secret\":\"(hidden)\"}}","editable":false`) || strings.Contains(body, planted[20:]) {
		t.Errorf("the config is %s", body)
	}
	if status, body := w.post("/api/machines/local/reload", ""); status != http.StatusOK || w.agent.called("Reload") != 1 {
		t.Errorf("reload is %d: %s", status, body)
	}
	if status, body := w.post("/api/machines/local/confirm", "{}"); status != http.StatusConflict || !strings.Contains(body, "no config is on trial") {
		t.Errorf("confirm is %d: %s", status, body)
	}
}

func TestPageOnlyShowsUnlessItMayWrite(t *testing.T) {
	w := newWorld(t, false)
	w.enter()
	for _, name := range []string{"reload", "confirm", "rollback", "apply"} {
		if status, body := w.post("/api/machines/local/"+name, "{}"); status != http.StatusForbidden || !strings.Contains(body, "spanctl ui --write") {
			t.Errorf("%s is %d: %s", name, status, body)
		}
	}
	if len(w.agent.calls) != 0 {
		t.Errorf("the agent was called: %v", w.agent.calls)
	}
}
