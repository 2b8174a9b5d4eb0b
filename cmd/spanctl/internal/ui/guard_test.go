package ui

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestRefusal(t *testing.T) {
	const own = "127.0.0.1:8080"
	for _, test := range []struct {
		name, method, path, host string
		header                   map[string]string
		remote, refused          bool
	}{
		{name: "a program without a browser's headers"},
		{name: "the page asks", header: map[string]string{"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}},
		{name: "the user types the URL", path: "/", header: map[string]string{"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}},
		{name: "a link of another site", path: "/", header: map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}},
		{name: "a link of another site to the API", header: map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, refused: true},
		{name: "a frame of another site", path: "/", header: map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, refused: true},
		{name: "a form of another site", method: http.MethodPost, path: "/", header: map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Origin": "http://" + own}, refused: true},
		{name: "another site asks", header: map[string]string{"Sec-Fetch-Site": "cross-site"}, refused: true},
		{name: "another port of this machine asks", header: map[string]string{"Sec-Fetch-Site": "same-site"}, refused: true},
		{name: "a foreign Origin", header: map[string]string{"Origin": "http://evil.example"}, refused: true},
		{name: "the Origin of another port", header: map[string]string{"Origin": "http://127.0.0.1:8081"}, refused: true},
		{name: "an Origin with TLS", header: map[string]string{"Origin": "https://" + own}, refused: true},
		{name: "an Origin that is null", header: map[string]string{"Origin": "null"}, refused: true},
		{name: "the page writes", method: http.MethodPost, header: map[string]string{"Origin": "http://" + own, "Sec-Fetch-Site": "same-origin"}},
		{name: "a write without an Origin", method: http.MethodPost, refused: true},
		{name: "a write of another site", method: http.MethodPost, header: map[string]string{"Origin": "http://evil.example"}, refused: true},
		{name: "DELETE without an Origin", method: http.MethodDelete, refused: true},
		{name: "localhost", host: "localhost:8080"},
		{name: "another port, as ssh forwards", host: "localhost:9999"},
		{name: "no port", host: "127.0.0.1"},
		{name: "IPv6", host: "[::1]:8080"},
		{name: "IPv6 without a port", host: "[::1]"},
		{name: "mapped IPv4", host: "[::ffff:127.0.0.1]:8080"},
		{name: "a name that leads here", host: "evil.example:8080", refused: true},
		{name: "a name with an address in it", host: "127.0.0.1.evil.example:8080", refused: true},
		{name: "a name below localhost", host: "evil.localhost:8080", refused: true},
		{name: "an address of this machine", host: "192.0.2.1:8080", refused: true},
		{name: "the same, with --allow-remote", host: "192.0.2.1:8080", remote: true},
		{name: "a name, with --allow-remote", host: "evil.example:8080", remote: true, refused: true},
		{name: "no Host", host: "-", refused: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			method, path, host := test.method, test.path, test.host
			if method == "" {
				method = http.MethodGet
			}
			if path == "" {
				path = "/api/session"
			}
			switch host {
			case "":
				host = own
			case "-":
				host = ""
			}
			r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
			r.Host = host
			for name, value := range test.header {
				r.Header.Set(name, value)
			}
			if why := refusal(r, test.remote); (why != "") != test.refused {
				t.Errorf("refused: %q, want %t", why, test.refused)
			}
		})
	}
}
