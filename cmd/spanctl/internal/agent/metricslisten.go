package agent

import (
	"net"
	"net/http"
	"time"

	"github.com/spanmesh/span/cmd/spanctl/internal/room"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/schema"
)

// What a client of the metrics may take. It has no password, so it gets little.
const (
	// maxScrapers is how many connections are open at a time, and maxClientScrapers how many of them
	// one client has. For another one, an old one is closed.
	maxScrapers, maxClientScrapers = 16, 4
	// maxScrapeHeader bounds the header of a request, in bytes.
	maxScrapeHeader = 8 << 10
	// scrapeReadTimeout bounds how long a request may take to come, scrapeWriteTimeout how long it and
	// its answer. Then the connection is closed: a client that asks again makes another.
	scrapeReadTimeout  = 2 * time.Second
	scrapeWriteTimeout = 30 * time.Second
)

// metricsOffer are the metrics, to everybody.
func metricsOffer(handler http.Handler) offer {
	mux := http.NewServeMux()
	mux.Handle("GET "+MetricsPath, handler)
	return offer{
		what:    "metrics",
		setting: "machine.metrics.listen",
		address: func(config *schema.Config) schema.ListenAddress { return config.Machine.Metrics.Listen },
		code:    condition.MetricsUnavailable,
		server: func(string) *http.Server {
			server := &http.Server{
				Handler:           mux,
				ReadHeaderTimeout: scrapeReadTimeout,
				ReadTimeout:       scrapeReadTimeout,
				WriteTimeout:      scrapeWriteTimeout,
				MaxHeaderBytes:    maxScrapeHeader,
			}
			server.SetKeepAlivesEnabled(false)
			return server
		},
		bound: func(l net.Listener) net.Listener {
			return &room.Room{Listener: l, Limit: maxScrapers, Share: maxClientScrapers}
		},
	}
}
