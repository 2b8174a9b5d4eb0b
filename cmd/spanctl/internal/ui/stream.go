package ui

import (
	"fmt"
	"net/http"
	"time"
)

const (
	// heartbeat is the longest time without a word in a stream.
	heartbeat = 15 * time.Second
	// writeTimeout is how long a browser may take to take what is written.
	writeTimeout = 10 * time.Second
)

// stream sends what is known of the machines, and each change of it, as server-sent events.
// (https://html.spec.whatwg.org/multipage/server-sent-events.html)
func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	own, _ := r.Context().Value(sessionKey{}).(*session)
	if own == nil || !s.access.beginStream(own) {
		fail(w, r, http.StatusTooManyRequests, fmt.Sprintf("this browser has the page open %d times: close one", maxStreams))
		return
	}
	defer s.access.endStream(own)
	defer s.board.watch()()
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	_ = out.SetReadDeadline(time.Time{}) // the request is there: its deadline would end the stream
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	text := []byte("retry: 1000\n\n")
	var seen uint64
	for {
		updates, at, changed := s.board.since(seen)
		seen = at
		for _, u := range updates {
			text = fmt.Appendf(text, "event: %s\ndata: %s\n\n", u.event, u.data)
		}
		if len(text) > 0 {
			_ = out.SetWriteDeadline(time.Now().Add(writeTimeout)) // else the write waits, as long as the browser does
			if _, err := w.Write(text); err != nil {
				return
			}
			if err := out.Flush(); err != nil {
				return
			}
			text = text[:0]
		}
		select {
		case <-r.Context().Done():
			return
		case <-changed:
		case <-beat.C:
			text = append(text, ":\n\n"...)
		}
	}
}
