package server

import (
	"context"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/spanmesh/span/discoveryhttp/server/page"
	"github.com/spanmesh/span/discoveryhttp/store"
)

// readyTimeout bounds how long a readiness probe waits for the store.
const readyTimeout = 2 * time.Second

// pagePolicy is what a browser may do with the page: it loads nothing from elsewhere.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

// withPageHeaders makes browsers strict with all that next answers.
func withPageHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", pagePolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}

// pages returns the handler of the page, the metrics and the probes. None of them shows the ID of
// a cluster, or an address.
func (s *Server) pages() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", s.ready)
	metrics := promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		if !s.mayReadMetrics(r) {
			http.NotFound(w, r)
			return
		}
		metrics.ServeHTTP(w, r)
	})
	if s.options.Page != Off {
		mux.HandleFunc("GET /{$}", s.index)
		mux.HandleFunc("GET /page/data", s.data)
		mux.HandleFunc("GET /page/{name}", func(w http.ResponseWriter, r *http.Request) { sendFile(w, r, r.PathValue("name")) })
	}
	return mux
}

// answer sends a line of text.
func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n"))
}

// ready answers the readiness probe: the server is ready unless it is shutting down
// or its store cannot be used.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	if s.closing.Err() != nil {
		answer(w, http.StatusServiceUnavailable, "shutting down")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	if err := s.store.Ready(ctx); err != nil {
		s.log.Warn("store not ready", "error", err)
		answer(w, http.StatusServiceUnavailable, "store not ready")
		return
	}
	answer(w, http.StatusOK, "ok")
}

// index answers a browser with the page, and others with a short one that needs no script.
func (s *Server) index(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Vary", "Accept")
	if wantsHTML(r.Header) {
		sendFile(w, r, page.Index)
		return
	}
	s.short(w, r)
}

// wantsHTML reports whether a request names HTML among what it accepts, as those of browsers do.
func wantsHTML(header http.Header) bool {
	for _, accepted := range strings.Split(strings.Join(header.Values("Accept"), ","), ",") {
		kind, parameters, _ := strings.Cut(accepted, ";")
		if strings.EqualFold(strings.TrimSpace(kind), "text/html") {
			quality, weighted := strings.CutPrefix(strings.ReplaceAll(parameters, " ", ""), "q=")
			n, err := strconv.ParseFloat(quality, 64)
			return !weighted || err == nil && n > 0
		}
	}
	return false
}

// shortTemplate is parsed once, when the short page is first asked for.
var shortTemplate = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Discovery</title></head>
<body>
<h1>Discovery</h1>
<p>The machines of a cluster find each other here. What they publish is encrypted; this server cannot read it.</p>
{{with .Stats}}<table>
<tr><td>Clusters</td><td>{{.Clusters}}</td></tr>
<tr><td>Affiliates</td><td>{{.Affiliates}}</td></tr>
<tr><td>Watchers</td><td>{{.Watchers}}</td></tr>
</table>
{{end}}<p>spanctl {{.Version}}</p>
</body>
</html>
`))
})

// short answers with the short page.
func (s *Server) short(w http.ResponseWriter, r *http.Request) {
	shown := struct {
		// Stats is nil for those who may see no numbers.
		Stats   *store.Stats
		Version string
	}{Version: s.options.Version}
	all, audience := s.store.Stats(), s.audienceOf(r)
	if audience.MayShow(all.Clusters) {
		shown.Stats = &store.Stats{Clusters: audience.Count(all.Clusters), Affiliates: audience.Count(all.Affiliates), Watchers: audience.Count(all.Watchers)}
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := shortTemplate().Execute(w, shown); err != nil {
		s.log.Debug("sending the page failed", "error", err)
	}
}

// data answers with the numbers that the page shows.
func (s *Server) data(w http.ResponseWriter, r *http.Request) {
	span, ok := page.SpanOf(r.URL.Query().Get("span"))
	if !ok {
		answer(w, http.StatusBadRequest, "want ?span=now, hour or day")
		return
	}
	made := s.board.Answer(s.audienceOf(r), span)
	send(w, r, page.File{Content: made.Body, Type: "application/json", ETag: made.ETag})
}

// sendFile answers with a file of the page.
func sendFile(w http.ResponseWriter, r *http.Request, name string) {
	f, ok := page.FileOf(name)
	if !ok {
		http.NotFound(w, r)
		return
	}
	send(w, r, f)
}

// send answers with a file, or says that the client has it already. Only the client may keep it:
// another may see something else.
func send(w http.ResponseWriter, r *http.Request, f page.File) {
	h := w.Header()
	h.Set("Cache-Control", "private, no-cache")
	h.Set("Etag", f.ETag)
	if r.Header.Get("If-None-Match") == f.ETag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", f.Type)
	h.Set("Content-Length", strconv.Itoa(len(f.Content)))
	_, _ = w.Write(f.Content) // the client may be gone
}
