package server

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// idleConns closes connections that have had no call for a time. net/http would do so too, but when
// a connection of HTTP/2 is closed while a call is open, its timer keeps all of that for as long.
type idleConns struct {
	after time.Duration

	mu sync.Mutex
	// timers are those of the connections without a call.
	timers map[net.Conn]*time.Timer
}

// change notes the state of a connection.
func (i *idleConns) change(c net.Conn, state http.ConnState) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if timer := i.timers[c]; timer != nil {
		timer.Stop()
		delete(i.timers, c)
	}
	if state == http.StateIdle {
		i.timers[c] = time.AfterFunc(i.after, func() { _ = c.Close() })
	}
}
