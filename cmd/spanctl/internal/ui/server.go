package ui

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/room"
)

const (
	// apiPath is the beginning of the paths of the API.
	apiPath = "/api/"
	// maxHeader bounds the header of a request, in bytes.
	maxHeader = 16 << 10
	// requestTimeout is how long a request may take to come, idleTimeout how long a connection stays
	// open without one.
	requestTimeout = 10 * time.Second
	idleTimeout    = time.Minute
	// maxStrangers is how many connections are open of which no request had a cookie, so that they do not
	// keep the page from others; maxEntered is how many others are kept.
	maxStrangers, maxEntered = 32, 64
	// closeTimeout is how long requests have to end once the server stops.
	closeTimeout = time.Second
)

// Options are what a Server serves.
type Options struct {
	// Machines are shown, in this order.
	Machines []Machine
	// Write lets the page change something.
	Write bool
	// AllowRemote lets browsers of other machines use the server.
	AllowRemote bool
	// Version is that of this program.
	Version string
	// Explain makes an error of a call one for people.
	Explain func(error) error
	// Explanation returns what `spanctl explain` says of a name.
	Explanation func(name string) (string, error)
	// YAML returns the YAML of a value, for people.
	YAML func(value any) ([]byte, error)
	// Named returns a name for a text whose ending is the text's format.
	Named func(ctx context.Context, name string, text []byte) (string, error)
	Log   *slog.Logger
}

// Server serves the page. Its methods may be called concurrently.
type Server struct {
	options    Options
	listener   net.Listener
	cookieName string
	access     access
	assets     map[string]asset
	board      *board
	readers    map[string]*reader
}

// New returns a server that will serve on a TCP listener.
func New(listener net.Listener, o Options) (*Server, error) {
	address, is := listener.Addr().(*net.TCPAddr)
	if !is {
		return nil, fmt.Errorf("listen at %s: want a TCP address", listener.Addr())
	}
	assets, err := readAssets()
	if err != nil {
		return nil, err
	}
	// Cookies know no ports: each server of this machine needs a name of its own.
	s := &Server{options: o, listener: listener, cookieName: fmt.Sprintf("spanctl_ui_%d", address.Port), assets: assets, readers: map[string]*reader{}}
	ids := make([]string, len(o.Machines))
	for i, m := range o.Machines {
		ids[i] = m.ID
	}
	s.board = newBoard(ids)
	for _, m := range o.Machines {
		s.readers[m.ID] = newReader(m, s.board, o.Explain)
	}
	return s, nil
}

// NewURL returns a URL that opens the page in one browser, within 5 minutes. The one before is of no
// use any more.
func (s *Server) NewURL() string {
	address := s.listener.Addr().(*net.TCPAddr).AddrPort()
	host := address.String()
	if address.Addr().IsUnspecified() {
		host = fmt.Sprintf("127.0.0.1:%d", address.Port())
	}
	u := url.URL{Scheme: "http", Host: host, Path: "/", RawQuery: url.Values{"token": {s.access.newToken(time.Now())}}.Encode()}
	return u.String()
}

// handler returns the handler of all requests.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", s.serveAsset)
	mux.HandleFunc("GET "+apiPath+"session", s.session)
	mux.HandleFunc("GET "+apiPath+"stream", s.stream)
	mux.HandleFunc("GET "+apiPath+"explain/{name}", s.explanation)
	for name, do := range map[string]call{"diff": diff, "history": history, "config": s.config, "samples": samples} {
		mux.HandleFunc("GET "+apiPath+"machines/{id}/"+name, s.about(readTimeout, do))
	}
	for name, do := range map[string]call{
		"reload": decision(func(m *reader) func(context.Context, *connect.Request[agentpb.ReloadRequest]) (*connect.Response[agentpb.ReloadResponse], error) {
			return m.Reload
		}),
		"confirm": decision(func(m *reader) func(context.Context, *connect.Request[agentpb.ConfirmRequest]) (*connect.Response[agentpb.ConfirmResponse], error) {
			return m.Confirm
		}),
		"rollback": rollback,
		"apply":    s.apply,
	} {
		mux.HandleFunc("POST "+apiPath+"machines/{id}/"+name, s.changing(do))
	}
	return s.guard(mux)
}

// session answers what the page needs to know first.
func (s *Server) session(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, struct {
		Version  string        `json:"version"`
		Write    bool          `json:"write"`
		Machines []machineName `json:"machines"`
	}{s.options.Version, s.options.Write, s.board.names()})
}

// explanation answers what a name means, such as the code of a condition.
func (s *Server) explanation(w http.ResponseWriter, r *http.Request) {
	text, err := s.options.Explanation(r.PathValue("name"))
	if err != nil {
		fail(w, r, http.StatusNotFound, err.Error())
		return
	}
	writeJSON(w, http.StatusOK, struct {
		Text string `json:"text"`
	}{text})
}

// Serve serves until ctx ends, and then closes the streams and the connections to the machines.
func (s *Server) Serve(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, r := range s.readers {
		group.Go(func() error {
			r.follow(ctx)
			return nil
		})
	}
	server := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: requestTimeout,
		ReadTimeout:       requestTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ConnContext:       room.WithGuest,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(s.options.Log.Handler(), slog.LevelDebug),
	}
	group.Go(func() error {
		<-ctx.Done()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			return server.Close()
		}
		return nil
	})
	group.Go(func() error {
		if err := server.Serve(&room.Room{Listener: s.listener, Limit: maxStrangers, Share: maxStrangers, MaxAdmitted: maxEntered}); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve the page: %w", err)
		}
		return nil
	})
	return group.Wait()
}
