package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// serveGRPC starts an HTTP/2 server of the standard library, and returns its address.
func serveGRPC(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func framed(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

// TestManyLongMessages passes more than all windows in several calls at once.
func TestManyLongMessages(t *testing.T) {
	const calls, messages = 3, 4
	long := bytes.Repeat([]byte("long"), 300_000)
	server := serveGRPC(t, func(w http.ResponseWriter, r *http.Request) {
		request, err := io.ReadAll(r.Body)
		if err != nil || r.URL.Path != service+"Watch" || !bytes.Equal(request, framed([]byte("request"))) {
			t.Errorf("a call of %s with %q, error %v", r.URL.Path, request, err)
		}
		for range messages {
			_, _ = w.Write(append(framed(long), framed([]byte("short"))...))
		}
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
	})
	c, err := dial(t.Context(), server, address(1))
	if err != nil {
		t.Fatal(err)
	}
	got := make([]int, calls)
	ended := 0
	for i := range calls {
		c.start("Watch", []byte("request"), answer{
			message: func(message []byte) error {
				if want := [][]byte{long, []byte("short")}[got[i]%2]; !bytes.Equal(message, want) {
					return fmt.Errorf("message %d of call %d has %d bytes, want %d", got[i], i, len(message), len(want))
				}
				got[i]++
				return nil
			},
			ended: func(err error) error {
				if ended++; err == nil && ended == calls {
					return errDone
				}
				return err
			},
		})
	}
	if err := c.serve(); err != nil {
		t.Fatal(err)
	}
	if want := []int{2 * messages, 2 * messages, 2 * messages}; !slices.Equal(got, want) {
		t.Errorf("messages of each call: %v, want %v", got, want)
	}
}

func TestRefusedCall(t *testing.T) {
	server := serveGRPC(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Grpc-Status", "8")
		w.Header().Set("Grpc-Message", "too many")
	})
	c, err := dial(t.Context(), server, address(1))
	if err != nil {
		t.Fatal(err)
	}
	c.start("AffiliateUpdate", nil, answer{ended: func(err error) error { return err }})
	if err := c.serve(); err == nil || !strings.Contains(err.Error(), `gRPC "8": too many`) {
		t.Errorf("a refused call ends with %v", err)
	}
}

func TestEachAffiliate(t *testing.T) {
	var message []byte
	for _, id := range []string{"a", "b"} {
		message = bytesField(message, 1, bytesField(text(nil, 1, id), 2, []byte("data of "+id)))
	}
	var got []string
	eachAffiliate(message, func(id, data []byte) { got = append(got, string(id)+": "+string(data)) })
	if want := []string{"a: data of a", "b: data of b"}; !slices.Equal(got, want) {
		t.Errorf("affiliates %q, want %q", got, want)
	}
}
