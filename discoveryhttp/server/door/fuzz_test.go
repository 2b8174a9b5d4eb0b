package door

import (
	"bytes"
	"io"
	"testing"

	"golang.org/x/net/http2"
)

// FuzzPeek checks that a server reads what the client sent, except for one acknowledgment of
// SETTINGS, whatever a client of HTTP/2 or another protocol sends.
func FuzzPeek(f *testing.F) {
	frames := func(write func(w *http2.Framer)) []byte {
		sent := bytes.NewBufferString(http2.ClientPreface)
		write(http2.NewFramer(sent, nil))
		return sent.Bytes()
	}
	// The content type in a literal field with an index of the static table (RFC 7541, 6.2.2).
	block := append([]byte{0x83, 0x86, 0x84, 0x0f, 0x10, 16}, "application/grpc"...)
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte("PRI * HTTP/2.0\r\n\r\nSN"))
	f.Add(frames(func(w *http2.Framer) {
		_ = w.WriteSettings()
		_ = w.WriteSettingsAck()
		_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndHeaders: true})
		_ = w.WriteSettingsAck()
		_ = w.WriteData(1, true, []byte("data"))
	}))
	f.Add(frames(func(w *http2.Framer) {
		_ = w.WriteSettings()
		_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:4]})
		_ = w.WriteContinuation(1, true, block[4:])
		_ = w.WritePing(false, [8]byte{})
		_ = w.WriteSettingsAck()
		_ = w.WriteSettingsAck()
	}))
	limits := DefaultLimits()
	f.Fuzz(func(t *testing.T, sent []byte) {
		for _, chunk := range []int{1, 7, len(sent) + 1} {
			var answered bytes.Buffer
			p, _, err := peek(&chunks{sent, chunk}, &answered, &limits)
			if len(p.read) > len(http2.ClientPreface)+limits.Header {
				t.Fatalf("%d bytes were kept", len(p.read))
			}
			if err != nil {
				continue
			}
			read, _ := io.ReadAll(p)
			if !bytes.Equal(read, sent) && !withoutAck(read, sent) {
				t.Fatalf("the server reads %q of %q", read, sent)
			}
			if answered.Len() == 0 && len(read) != len(sent) {
				t.Fatal("an acknowledgment of what was not sent was withheld")
			}
		}
	})
}

// chunks is a connection whose reads return few bytes.
type chunks struct {
	rest []byte
	size int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.rest[:min(c.size, len(c.rest))])
	c.rest = c.rest[n:]
	return n, nil
}

// withoutAck reports whether read is sent without one acknowledgment of SETTINGS, and maybe
// without the begin of a frame's header at its end.
func withoutAck(read, sent []byte) bool {
	if len(sent)-len(read) < frameHeader {
		return bytes.HasPrefix(sent, read)
	}
	for i := range len(read) + 1 {
		if !bytes.Equal(read[:i], sent[:i]) {
			return false
		}
		if ack := sent[i:]; len(ack) >= frameHeader && isSettingsAck(ack[:frameHeader]) && bytes.HasPrefix(ack[frameHeader:], read[i:]) {
			return true
		}
	}
	return false
}
