package server

import (
	"bytes"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

// writtenConn records writes.
type writtenConn struct {
	net.Conn

	mu     sync.Mutex
	writes [][]byte
}

func (c *writtenConn) all() [][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.writes)
}

func (c *writtenConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes = append(c.writes, bytes.Clone(b))
	return len(b), nil
}

func (c *writtenConn) Close() error { return nil }

func pingFrame(t *testing.T, ack bool, data byte) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := http2.NewFramer(&out, nil).WritePing(ack, [8]byte{data}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestAnswersToPingsWaitForData looks at what is written at once, and after pingWait.
func TestAnswersToPingsWaitForData(t *testing.T) {
	a, b := pingFrame(t, true, 1), pingFrame(t, true, 2)
	ping := pingFrame(t, false, 3)
	short, long := bytes.Repeat([]byte{7}, 300), bytes.Repeat([]byte{8}, joined+1)
	for _, test := range []struct {
		name   string
		writes [][]byte
		// want is what is written at once, and in the end.
		want, later [][]byte
	}{
		{"data alone", [][]byte{short, long}, [][]byte{short, long}, nil},
		{"an answer alone", [][]byte{a}, nil, [][]byte{a}},
		{"an answer before data", [][]byte{a, short}, [][]byte{slices.Concat(a, short)}, nil},
		{"an answer before much data", [][]byte{a, long}, [][]byte{a, long}, nil},
		{"two answers", [][]byte{a, b}, [][]byte{slices.Concat(a, b)}, nil},
		{"answers between data", [][]byte{a, short, b, short}, [][]byte{slices.Concat(a, short), slices.Concat(b, short)}, nil},
		{"an answer after data", [][]byte{short, a}, [][]byte{short}, [][]byte{a}},
		{"an answer with data in one write", [][]byte{slices.Concat(a, short)}, [][]byte{slices.Concat(a, short)}, nil},
		{"a ping of the server", [][]byte{ping}, [][]byte{ping}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				to := &writtenConn{}
				c := newPingConn(to)
				defer func() { _ = c.Close() }()
				for _, w := range test.writes {
					if n, err := c.Write(w); n != len(w) || err != nil {
						t.Errorf("a write of %d bytes returns %d, %v", len(w), n, err)
					}
				}
				if got := to.all(); !slices.EqualFunc(got, test.want, bytes.Equal) {
					t.Errorf("at once %x is written, want %x", got, test.want)
				}
				time.Sleep(pingWait)
				synctest.Wait()
				want := slices.Concat(test.want, test.later)
				if got := to.all(); !slices.EqualFunc(got, want, bytes.Equal) {
					t.Errorf("in the end %x is written, want %x", got, want)
				}
			})
		})
	}
}

func TestAnAnswerToAPingWaitsNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := &writtenConn{}
		c := newPingConn(to)
		defer func() { _ = c.Close() }()
		answer, data := pingFrame(t, true, 1), []byte("data")
		write := func(b []byte) {
			if _, err := c.Write(b); err != nil {
				t.Fatal(err)
			}
		}
		// The timer of the first answer is still running when the second has to wait.
		write(answer)
		write(data)
		time.Sleep(pingWait / 2)
		write(answer)
		time.Sleep(pingWait - time.Millisecond)
		synctest.Wait()
		if len(to.all()) != 1 {
			t.Errorf("before its time %d writes, want 1", len(to.all()))
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if len(to.all()) != 2 {
			t.Errorf("after its time %d writes, want 2", len(to.all()))
		}
	})
}
