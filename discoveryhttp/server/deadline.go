package server

import (
	"context"
	"net/http"
	"time"
)

// writePiece is how much of a response is written within the time that a reader has, in
// bytes.
const writePiece = 32 << 10

// withDeadlines ends a call on net/http whose reader takes nothing for timeout.
func withDeadlines(next http.Handler, timeout time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		written := &written{}
		out := &deadlineWriter{ResponseWriter: w, controller: http.NewResponseController(w), timeout: timeout}
		defer written.done()
		// A later request of an HTTP/1.1 connection has deadlines of its own.
		if r.ProtoMajor == 1 {
			defer out.clear()
		}
		next.ServeHTTP(out, r.WithContext(context.WithValue(r.Context(), writtenKey{}, written)))
	})
}

// deadlineWriter sets a deadline for each piece of a response.
type deadlineWriter struct {
	http.ResponseWriter
	controller *http.ResponseController
	timeout    time.Duration
}

// Write implements http.ResponseWriter.
func (w *deadlineWriter) Write(b []byte) (int, error) {
	total := 0
	for {
		w.begin()
		n, err := w.ResponseWriter.Write(b[:min(len(b), writePiece)])
		total += n
		b = b[n:]
		if err != nil || len(b) == 0 {
			return total, err
		}
	}
}

// Flush implements http.Flusher. A stream may write nothing for long afterwards.
func (w *deadlineWriter) Flush() {
	w.begin()
	// The next write has the error.
	_ = w.controller.Flush()
	w.clear()
}

// Unwrap serves http.ResponseController.
func (w *deadlineWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// begin and clear ignore errors: a transport without deadlines has none to set.
func (w *deadlineWriter) begin() { _ = w.controller.SetWriteDeadline(time.Now().Add(w.timeout)) }

func (w *deadlineWriter) clear() { _ = w.controller.SetWriteDeadline(time.Time{}) }

// writtenKey is the context key of the call's written.
type writtenKey struct{}

// written has what is to be done when the response is written.
type written struct{ do []func() }

func (w *written) done() {
	for _, f := range w.do {
		f()
	}
}

// onWritten calls f when the response of a call is written.
func onWritten(ctx context.Context, f func()) {
	if w, ok := ctx.Value(writtenKey{}).(*written); ok {
		w.do = append(w.do, f)
		return
	}
	f()
}
