package discoveryhttp

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"

	"google.golang.org/protobuf/encoding/protowire"
)

// limited is the body of an answer that is one message.
type limited struct {
	io.ReadCloser
	// limit and left are how many bytes may come, and may still come.
	limit, left int
}

// Read implements io.Reader.
func (l *limited) Read(p []byte) (int, error) {
	// A body that is too long has at least one byte more than the limit.
	n, err := l.ReadCloser.Read(p[:min(len(p), l.left+1)])
	if l.left -= n; l.left < 0 {
		return 0, refuseLength(l.limit)
	}
	return n, err
}

// frames is the body of a stream of messages: each has a byte of flags and its length before it
// (gRPC over HTTP/2, "Length-Prefixed-Message"; Connect, "Enveloped-Message").
//
// It splits long messages, so that a client needs no memory for the whole of a snapshot:
//
//	in:   [ head | a b c d ]
//	out:  [ head | a b more ] [ head | c d ]
//
// A message is a sequence of fields, and WatchResponse and ListResponse have the affiliates as
// repeated field 1. Part of the sequence is a message, too.
type frames struct {
	body io.Closer
	in   *bufio.Reader
	// out is what was not read yet of buffer, which has a frame.
	out, buffer []byte
	// left is how much of a long message is still to come, in bytes.
	left int
}

const (
	// headSize is the size of what is before a message.
	headSize = 5
	// compressed is the flag of a message that is compressed.
	compressed = 1
)

func newFrames(body io.ReadCloser) *frames {
	return &frames{body: body, in: bufio.NewReader(body)}
}

// Close implements io.Closer.
func (f *frames) Close() error { return f.body.Close() }

// Read implements io.Reader.
func (f *frames) Read(p []byte) (int, error) {
	for len(f.out) == 0 {
		if err := f.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, f.out)
	f.out = f.out[n:]
	return n, nil
}

// next puts the next frame into out.
func (f *frames) next() error {
	if f.left > 0 {
		return f.split()
	}
	head, err := f.in.Peek(headSize)
	if err != nil && len(head) > 0 {
		return unexpected(err)
	}
	if err != nil {
		return err
	}
	flags, length := head[0], binary.BigEndian.Uint32(head[1:])
	switch {
	case flags&compressed != 0:
		return refuse("the service sends a compressed message, which no client of it asks for")
	case flags != 0 && length > maxAnswer:
		return refuseLength(maxAnswer) // the end of a stream, in JSON
	case length > maxMessage:
		return refuseLength(maxMessage)
	case length > maxChunk:
		f.left = int(length)
		_, err = f.in.Discard(headSize)
		return err
	}
	f.buffer = f.buffer[:0]
	if err := f.take(headSize + int(length)); err != nil {
		return err
	}
	f.out = f.buffer
	return nil
}

// split puts as many fields of a long message as fit into out.
func (f *frames) split() error {
	f.buffer = append(f.buffer[:0], make([]byte, headSize)...)
	for f.left > 0 {
		length, err := f.fieldLength()
		if err != nil {
			return err
		}
		if len(f.buffer) > headSize && len(f.buffer)+length > maxChunk {
			f.buffer = protowire.AppendTag(f.buffer, fieldMore, protowire.VarintType)
			f.buffer = protowire.AppendVarint(f.buffer, 1)
			break
		}
		if err := f.take(length); err != nil {
			return err
		}
		f.left -= length
	}
	binary.BigEndian.PutUint32(f.buffer[1:headSize], uint32(len(f.buffer)-headSize))
	f.out = f.buffer
	return nil
}

// take appends the next bytes to the buffer.
func (f *frames) take(length int) error {
	before := len(f.buffer)
	f.buffer = append(f.buffer, make([]byte, length)...)
	_, err := io.ReadFull(f.in, f.buffer[before:])
	return unexpected(err)
}

// unexpected returns the error of a stream that ends within a message.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// maxFieldHead bounds the tag of a field and the length of its value, in bytes.
const maxFieldHead = 2 * binary.MaxVarintLen64

// fieldLength returns the length of the next field of a long message, in bytes.
func (f *frames) fieldLength() (int, error) {
	head, err := f.in.Peek(min(maxFieldHead, f.left))
	if err != nil {
		return 0, unexpected(err)
	}
	_, kind, n := protowire.ConsumeTag(head)
	if n < 0 {
		return 0, errMalformed
	}
	length := uint64(n)
	switch kind {
	case protowire.BytesType:
		value, m := protowire.ConsumeVarint(head[n:])
		if m < 0 {
			return 0, errMalformed
		}
		length += uint64(m) + min(value, maxMessage)
	case protowire.VarintType, protowire.Fixed32Type, protowire.Fixed64Type:
		m := protowire.ConsumeFieldValue(1, kind, head[n:])
		if m < 0 {
			return 0, errMalformed
		}
		length += uint64(m)
	default:
		return 0, errMalformed
	}
	if length > uint64(f.left) {
		return 0, errMalformed
	}
	if length > maxChunk {
		return 0, refuse("the service sends an affiliate of more than %d bytes", maxChunk)
	}
	return int(length), nil
}

var errMalformed = refuse("the service sends a message that cannot be decoded")
