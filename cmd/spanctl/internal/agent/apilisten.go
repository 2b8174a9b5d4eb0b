package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/cmd/spanctl/agentpb/agentpbconnect"
	"github.com/spanmesh/span/cmd/spanctl/internal/room"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/schema"
)

// What clients of the API in the mesh may take.
const (
	// maxAPIConns is how many connections that have shown the token are open at a time.
	maxAPIConns = 64
	// maxStrangers is how many are open beside them that have not, and maxClientStrangers how many of
	// those one client has. They have strangerPatience to show it.
	maxStrangers, maxClientStrangers = 64, 16
	strangerPatience                 = 5 * time.Second
	// maxConnStreams is how many calls a connection may have under way.
	maxConnStreams = 16
	// maxAPICalls and maxAPIStreams are how many calls are under way at a time, of those that have one
	// answer, of which others wait for apiPatience, and of those that have many, of which others are
	// refused. An answer about a thousand peers takes tens of megabytes while it is written.
	maxAPICalls, maxAPIStreams = 4, 32
	apiPatience                = 10 * time.Second
	// maxAPIRequest and maxAPIHeader bound a request, in bytes.
	maxAPIRequest, maxAPIHeader = 64 << 10, 8 << 10
	// apiReadTimeout bounds how long a request may take to come, apiCallTimeout how long a call may
	// take, but for those that have many answers, and apiIdleTimeout the time between requests.
	apiReadTimeout = 5 * time.Second
	apiCallTimeout = 30 * time.Second
	apiIdleTimeout = time.Minute
	// tokenInterval is how often the token is read: another one counts at the latest then, and ends the
	// connections of those who have the old one.
	tokenInterval = 10 * time.Second
)

// readingCalls are the calls that change nothing, send nothing to others and show no secret, and
// whether each has many answers.
var readingCalls = map[string]bool{
	agentpbconnect.AgentServiceGetStatusProcedure:  false,
	agentpbconnect.AgentServiceGetHealthProcedure:  false,
	agentpbconnect.AgentServiceGetSamplesProcedure: false,
	agentpbconnect.AgentServiceListProcedure:       false,
	agentpbconnect.AgentServiceWatchProcedure:      true,
}

// apiOffer are the reading calls of the API, to those who have the token.
func (d *deps) apiOffer(s *service) offer {
	return offer{
		what:    "API",
		setting: "machine.api.listen",
		address: func(config *schema.Config) schema.ListenAddress { return config.Machine.API.Listen },
		code:    condition.APIUnavailable,
		secret: func(config *schema.Config) (string, error) {
			path := config.Machine.API.TokenFile
			if path == "" {
				var err error
				if path, err = d.dir.APIToken(); err != nil {
					return "", &tokenError{"there is no token: " + err.Error(), "name a file that has one in machine.api.tokenFile"}
				}
			}
			return readToken(path)
		},
		recheck: tokenInterval,
		server:  func(token string) *http.Server { return apiServer(s, token) },
		bound: func(l net.Listener) net.Listener {
			return &room.Room{Listener: l, Limit: maxStrangers, Share: maxClientStrangers, AdmitTimeout: strangerPatience, MaxAdmitted: maxAPIConns}
		},
	}
}

// apiServer makes a server of the reading calls.
func apiServer(s *service, token string) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           withToken(token, readingHandler(s)),
		ConnContext:       room.WithGuest,
		Protocols:         protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxConnStreams},
		ReadHeaderTimeout: apiReadTimeout,
		IdleTimeout:       apiIdleTimeout,
		MaxHeaderBytes:    maxAPIHeader,
	}
}

// readingHandler serves the reading calls, and what they are.
func readingHandler(s *service) http.Handler {
	b := bounds{refuse: connect.NewErrorWriter(), calls: make(chan struct{}, maxAPICalls), streams: make(chan struct{}, maxAPIStreams)}
	mux, reflection := http.NewServeMux(), http.NewServeMux()
	path, api := agentpbconnect.NewAgentServiceHandler(s, connect.WithReadMaxBytes(maxAPIRequest))
	mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		b.fail(w, r, connect.CodePermissionDenied, fmt.Errorf("%s is for the agent's socket: here are the calls that read", r.URL.Path))
	})
	for procedure, many := range readingCalls {
		mux.Handle(procedure, b.call(many, api))
	}
	reflectService(reflection, maxAPIRequest)
	mux.Handle("/", b.dialogue(reflection))
	return mux
}

// bounds bound what calls may take.
type bounds struct {
	refuse         *connect.ErrorWriter
	calls, streams chan struct{}
}

// fail answers a request with an error.
func (b *bounds) fail(w http.ResponseWriter, r *http.Request, code connect.Code, err error) {
	if !b.refuse.IsSupported(r) {
		http.NotFound(w, r)
		return
	}
	_ = b.refuse.Write(w, r, connect.NewError(code, err)) // the client is gone
}

// enter takes a slot within patience, or refuses the request. The result gives the slot back; it is
// nil for none.
func (b *bounds) enter(w http.ResponseWriter, r *http.Request, slots chan struct{}, patience time.Duration) (leave func()) {
	leave = func() { <-slots }
	select {
	case slots <- struct{}{}:
		return leave
	default:
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	select {
	case slots <- struct{}{}:
		return leave
	case <-ctx.Done():
		b.fail(w, r, connect.CodeResourceExhausted, fmt.Errorf("%d such calls are under way already: try again later", cap(slots)))
		return nil
	}
}

// call passes a request with one message on, once that is there.
func (b *bounds) call(many bool, next http.Handler) http.Handler {
	slots, patience := b.calls, apiPatience
	if many {
		slots, patience = b.streams, 0
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		_ = control.SetReadDeadline(time.Now().Add(apiReadTimeout)) // both versions of HTTP can
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxAPIRequest))
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			b.fail(w, r, connect.CodeResourceExhausted, fmt.Errorf("the request is larger than %d bytes", maxAPIRequest))
			return
		}
		if err != nil {
			b.fail(w, r, connect.CodeDeadlineExceeded, errors.New("the request did not come in time"))
			return
		}
		_ = control.SetReadDeadline(time.Time{})
		r.Body = io.NopCloser(bytes.NewReader(body))
		leave := b.enter(w, r, slots, patience)
		if leave == nil {
			return
		}
		defer leave()
		if !many {
			_ = control.SetWriteDeadline(time.Now().Add(apiCallTimeout))
			ctx, cancel := context.WithTimeout(r.Context(), apiCallTimeout)
			defer cancel()
			r = r.WithContext(ctx)
		}
		next.ServeHTTP(w, r)
	})
}

// dialogue passes a request on whose client sends messages as it gets answers, for a while.
func (b *bounds) dialogue(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leave := b.enter(w, r, b.streams, 0)
		if leave == nil {
			return
		}
		defer leave()
		control, until := http.NewResponseController(w), time.Now().Add(apiCallTimeout)
		_ = control.SetReadDeadline(until) // both versions of HTTP can
		_ = control.SetWriteDeadline(until)
		next.ServeHTTP(w, r)
	})
}
