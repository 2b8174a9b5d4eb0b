package discoveryhttp

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"
	"testing/iotest"

	"google.golang.org/protobuf/proto"

	"github.com/spanmesh/span/discoveryhttp/serverpb"
)

// frame returns a message as streams have it.
func frame(flags byte, message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{flags}, uint32(len(message))), message...)
}

// decodeStream decodes the messages of a stream, as a client does.
func decodeStream(t *testing.T, stream io.Reader) (messages []message, err error) {
	t.Helper()
	f := newFrames(io.NopCloser(stream))
	for {
		var head [headSize]byte
		if _, err := io.ReadFull(f, head[:]); err != nil {
			if err == io.EOF {
				return messages, nil
			}
			return messages, err
		}
		length := binary.BigEndian.Uint32(head[1:])
		if length > maxChunk+maxFieldHead {
			t.Fatalf("a message of %d bytes was passed on", length)
		}
		wire := make([]byte, length)
		if _, err := io.ReadFull(f, wire); err != nil {
			return messages, err
		}
		if head[0] != 0 {
			continue // the end of the stream
		}
		var m message
		if err := m.unmarshal(wire); err != nil {
			return messages, err
		}
		messages = append(messages, m)
	}
}

func encoded(t testing.TB, m proto.Message) []byte {
	t.Helper()
	wire, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return wire
}

// A long message comes as several, which say that more follows.
func TestLongMessageIsSplit(t *testing.T) {
	const n = 3000
	all := &serverpb.WatchResponse{}
	for i := range n {
		all.Affiliates = append(all.Affiliates, &serverpb.Affiliate{Id: "node", Data: bytes.Repeat([]byte{byte(i)}, 200), Endpoints: [][]byte{make([]byte, 32)}})
	}
	long, short := frame(0, encoded(t, all)), frame(0, encoded(t, &serverpb.WatchResponse{Deleted: true, Affiliates: []*serverpb.Affiliate{{Id: "x"}}}))
	stream := append(append(append([]byte{}, long...), short...), frame(0, nil)...)
	for name, in := range map[string]io.Reader{
		"at once":      bytes.NewReader(stream),
		"byte by byte": iotest.OneByteReader(bytes.NewReader(stream)),
	} {
		t.Run(name, func(t *testing.T) {
			messages, err := decodeStream(t, in)
			if err != nil {
				t.Fatal(err)
			}
			got, parts := 0, 0
			for _, m := range messages {
				for _, a := range m.affiliates {
					if a.id == "node" && (a.data[0] != byte(got) || len(a.data) != 200 || len(a.endpoints) != 1) {
						t.Fatalf("affiliate %d is %+v", got, a)
					}
					got++
				}
				if parts++; !m.more {
					break
				}
			}
			if got != n || parts < 3 || len(messages) != parts+2 || !messages[parts].deleted {
				t.Errorf("%d affiliates in %d parts; %d messages", got, parts, len(messages))
			}
		})
	}
}

func TestStreamThatBreaksOff(t *testing.T) {
	stream := append(frame(0, encoded(t, &serverpb.WatchResponse{})), frame(0, bytes.Repeat([]byte{0x0a, 2, 0x0a, 0}, maxChunk))...)
	for n := range stream {
		if n > 100 && n%19997 != 0 {
			continue
		}
		if _, err := decodeStream(t, bytes.NewReader(stream[:n])); err == nil && n != 0 && n != headSize {
			t.Errorf("no error after %d bytes", n)
		}
	}
}

// FuzzWatchDecoder decodes streams of a hostile service. What is decoded is as bounded as what
// a client keeps.
func FuzzWatchDecoder(f *testing.F) {
	sealed := &serverpb.Affiliate{Id: "node", Data: make([]byte, 40), Endpoints: [][]byte{make([]byte, 16), {1}}}
	f.Add(frame(0, encoded(f, &serverpb.WatchResponse{Affiliates: []*serverpb.Affiliate{sealed, {Id: "\x1b["}}})))
	f.Add(frame(0, encoded(f, &serverpb.WatchResponse{Deleted: true, Affiliates: []*serverpb.Affiliate{{Id: "node"}}})))
	f.Add(append(frame(0, []byte{0x88, 0xe5, 0x08, 1}), frame(2, []byte("{}"))...))
	f.Add(frame(1, nil))
	f.Add([]byte{0, 0, 5, 0, 0, 0x0a, 0, 0x0a, 0})
	f.Fuzz(func(t *testing.T, stream []byte) {
		messages, _ := decodeStream(t, bytes.NewReader(stream))
		for _, m := range messages {
			for _, a := range m.affiliates {
				checkSealed(t, a)
			}
		}
	})
}

// checkSealed fails the test for an affiliate that a client must not get to see.
func checkSealed(t *testing.T, a sealed) {
	t.Helper()
	if _, ok := checkID([]byte(a.id)); !ok || a.id == "" {
		t.Errorf("the ID %q was taken", a.id)
	}
	if a.fault != nil && (a.data != nil || a.endpoints != nil) {
		t.Errorf("%q has a fault and data", a.id)
	}
	if len(a.data) > maxData || len(a.endpoints) > maxSealedEndpoints {
		t.Errorf("%q has %d bytes and %d endpoints", a.id, len(a.data), len(a.endpoints))
	}
	for _, e := range a.endpoints {
		if !canOpen(e) {
			t.Errorf("%q has an endpoint of %d bytes", a.id, len(e))
		}
	}
}
