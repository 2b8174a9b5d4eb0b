package server

import (
	"context"
	"html/template"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/spanmesh/span/discoveryhttp/store"
)

// readyTimeout bounds how long a readiness probe waits for the store.
const readyTimeout = 2 * time.Second

// addPages adds metrics, probes and the status page. None of them shows the ID of a
// cluster.
func (s *Server) addPages(mux *http.ServeMux) {
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", s.ready)
	mux.HandleFunc("GET /{$}", s.page)
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

// pageTemplate is parsed once, when the page is first asked for.
var pageTemplate = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Discovery</title>
<style>body{font-family:system-ui,sans-serif;max-width:40em;margin:3em auto;padding:0 1em}td{padding:.2em 1em .2em 0}td+td{text-align:right}</style></head>
<body>
<h1>Discovery</h1>
<p>The machines of a cluster find each other here. What they publish is encrypted; this server cannot read it.</p>
<table>
<tr><td>Clusters</td><td>{{.Clusters}}</td></tr>
<tr><td>Affiliates</td><td>{{.Affiliates}}</td></tr>
<tr><td>Watchers</td><td>{{.Watchers}}</td></tr>
</table>
<p>spanctl {{.Version}}</p>
</body>
</html>
`))
})

// page answers with the status page.
func (s *Server) page(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	err := pageTemplate().Execute(w, struct {
		store.Stats
		Version string
	}{s.store.Stats(), s.options.Version})
	if err != nil {
		s.log.Debug("sending the status page failed", "error", err)
	}
}
