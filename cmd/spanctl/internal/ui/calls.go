package ui

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
)

const (
	// readTimeout and changeTimeout are how long an agent may take to answer, or to change something.
	readTimeout   = 30 * time.Second
	changeTimeout = 3 * time.Minute
	// maxBody is the size of the largest body of a request in bytes: a config as JSON.
	maxBody = 1 << 20
	// trialLength is how long a config is on trial.
	trialLength = time.Minute
)

// httpError is an error with the status of the answer.
type httpError struct {
	status int
	text   string
}

func (e *httpError) Error() string { return e.text }

// fail answers with an error: the API as JSON, else as text. Who may not have something keeps no
// connection.
func fail(w http.ResponseWriter, r *http.Request, status int, text string) {
	if status == http.StatusUnauthorized || status == http.StatusForbidden {
		w.Header().Set("Connection", "close")
	}
	if len(r.URL.Path) < len(apiPath) || r.URL.Path[:len(apiPath)] != apiPath {
		http.Error(w, "spanctl: "+text, status)
		return
	}
	writeJSON(w, status, struct {
		Error string `json:"error"`
	}{text})
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	data, err := json.Marshal(value)
	if err != nil {
		http.Error(w, "the answer cannot be shown: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(data) // the browser is gone, then
}

// statusOf returns the status of the answer that an error of an agent's stands for.
func statusOf(err error) int {
	var own *httpError
	if errors.As(err, &own) {
		return own.status
	}
	switch connect.CodeOf(err) {
	case connect.CodeNotFound:
		return http.StatusNotFound
	case connect.CodeInvalidArgument:
		return http.StatusBadRequest
	case connect.CodePermissionDenied:
		return http.StatusForbidden
	case connect.CodeFailedPrecondition, connect.CodeAborted:
		return http.StatusConflict
	case connect.CodeUnimplemented:
		return http.StatusNotImplemented
	case connect.CodeDeadlineExceeded:
		return http.StatusGatewayTimeout
	default:
		return http.StatusBadGateway
	}
}

// call is a call about a machine. Its answer is a message of the API, or a value for JSON.
type call func(ctx context.Context, m *reader, r *http.Request) (any, error)

// about makes a handler of a call about the machine in the path.
func (s *Server) about(timeout time.Duration, do call) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		m := s.readers[r.PathValue("id")]
		if m == nil {
			fail(w, r, http.StatusNotFound, "no machine is called that here")
			return
		}
		if m.isAway() {
			fail(w, r, http.StatusServiceUnavailable, "no agent runs on the machine")
			return
		}
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // the request is there: its deadline would end the call
		ctx, cancel := context.WithTimeout(r.Context(), timeout)
		defer cancel()
		answer, err := do(ctx, m, r)
		if message, is := answer.(proto.Message); is && err == nil {
			answer, err = answerJSON(message)
		}
		if err != nil {
			fail(w, r, statusOf(err), s.options.Explain(err).Error())
			return
		}
		writeJSON(w, http.StatusOK, answer)
	}
}

// changing makes a handler of a call that changes something, which is for --write alone.
func (s *Server) changing(do call) http.HandlerFunc {
	allowed := s.about(changeTimeout, do)
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.options.Write {
			fail(w, r, http.StatusForbidden, "this page only shows: `spanctl ui --write` lets it change something")
			return
		}
		if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
			fail(w, r, http.StatusUnsupportedMediaType, "the body must be JSON, with the Content-Type application/json")
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		var large *http.MaxBytesError
		switch {
		case errors.As(err, &large):
			fail(w, r, http.StatusRequestEntityTooLarge, "the body is larger than 1 MiB")
			return
		case err != nil:
			fail(w, r, http.StatusBadRequest, "the body did not come whole")
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		allowed(w, r)
	}
}

// decode reads the body of a request. An empty one is an empty object.
func decode(r *http.Request, value any) error {
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	err := decoder.Decode(value)
	if err == nil && decoder.More() {
		err = errors.New("more than one value")
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return &httpError{http.StatusBadRequest, "the body is not the JSON that is wanted: " + err.Error()}
	}
	return nil
}

// answered returns the message of an answer.
func answered[M any](response *connect.Response[M], err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return response.Msg, nil
}

func diff(ctx context.Context, m *reader, _ *http.Request) (any, error) {
	return answered(m.Diff(ctx, connect.NewRequest(&agentpb.DiffRequest{})))
}

func history(ctx context.Context, m *reader, _ *http.Request) (any, error) {
	response, err := m.History(ctx, connect.NewRequest(&agentpb.HistoryRequest{}))
	if err == nil {
		for _, revision := range response.Msg.GetRevisions() {
			revision.Config = nil // without a number there is none
		}
	}
	return answered(response, err)
}

// spans are those of samples.
var spans = map[string]agentpb.SampleSpan{
	"hour": agentpb.SampleSpan_SAMPLE_SPAN_HOUR,
	"day":  agentpb.SampleSpan_SAMPLE_SPAN_DAY,
}

func samples(ctx context.Context, m *reader, r *http.Request) (any, error) {
	query := r.URL.Query()
	span, known := spans[query.Get("span")]
	if !known {
		return nil, &httpError{http.StatusBadRequest, "the span must be hour or day"}
	}
	return answered(m.GetSamples(ctx, connect.NewRequest(&agentpb.GetSamplesRequest{Peer: query.Get("peer"), Span: span})))
}

// decision makes a call of one whose request has no fields that the page sets.
func decision[Q, R any](do func(m *reader) func(context.Context, *connect.Request[Q]) (*connect.Response[R], error)) call {
	return func(ctx context.Context, m *reader, r *http.Request) (any, error) {
		if err := decode(r, &struct{}{}); err != nil {
			return nil, err
		}
		return answered(do(m)(ctx, connect.NewRequest(new(Q))))
	}
}

func rollback(ctx context.Context, m *reader, r *http.Request) (any, error) {
	var body struct {
		Number uint32 `json:"number"`
	}
	if err := decode(r, &body); err != nil {
		return nil, err
	}
	return answered(m.Rollback(ctx, connect.NewRequest(&agentpb.RollbackRequest{Number: body.Number})))
}
