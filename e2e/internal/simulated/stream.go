package simulated

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protowire"
)

// The fields of WatchResponse and Affiliate that a light machine reads.
const (
	fieldAffiliates = 1
	fieldDeleted    = 2
	fieldMore       = 18001
	fieldID         = 1
)

const (
	// messageHead is the length of what precedes a gRPC message: a flag and its length.
	messageHead = 5
	// streamBuffer has room for an affiliate, in bytes.
	streamBuffer = 4 << 10
	// maxFieldHead bounds the tag of a field and the length of its value, in bytes.
	maxFieldHead = 2 * binary.MaxVarintLen64
)

// news is a message of a watch.
type news struct {
	// numbers are the machines in it.
	numbers []int
	// deleted is set if they were removed.
	deleted bool
	// more is set if another part of the snapshot follows.
	more bool
}

// stream reads the messages of a watch. It holds one affiliate at a time in memory.
type stream struct {
	in *bufio.Reader
	// news is that of the last message; its list is used again.
	news news
}

func newStream(body io.Reader) *stream { return &stream{in: bufio.NewReaderSize(body, streamBuffer)} }

var errMalformed = errors.New("the server sends a message that cannot be decoded")

// next reads a message. Its result is valid until the next call.
func (s *stream) next() (*news, error) {
	head, err := s.in.Peek(messageHead)
	if err != nil {
		return nil, err
	}
	if head[0] != 0 {
		return nil, errors.New("the server sends a compressed message")
	}
	left := int(binary.BigEndian.Uint32(head[1:]))
	if _, err := s.in.Discard(messageHead); err != nil {
		return nil, err
	}
	s.news = news{numbers: s.news.numbers[:0]}
	for left > 0 {
		n, err := s.field(left)
		if err != nil {
			return nil, err
		}
		left -= n
	}
	return &s.news, nil
}

// field reads a field of the last left bytes of a message, and returns its length.
func (s *stream) field(left int) (int, error) {
	head, err := s.in.Peek(min(maxFieldHead, left))
	if err != nil {
		return 0, err
	}
	number, kind, n := protowire.ConsumeTag(head)
	if n < 0 {
		return 0, errMalformed
	}
	value, m := protowire.ConsumeVarint(head[n:])
	if m < 0 || kind != protowire.VarintType && kind != protowire.BytesType {
		return 0, errMalformed
	}
	length := n + m
	if kind == protowire.BytesType {
		length += int(min(value, streamBuffer))
	}
	if length > left {
		return 0, errMalformed
	}
	field, err := s.in.Peek(length)
	if err != nil {
		return 0, err
	}
	switch number {
	case fieldAffiliates:
		s.news.numbers = append(s.news.numbers, numberIn(field[n+m:]))
	case fieldDeleted:
		s.news.deleted = value != 0
	case fieldMore:
		s.news.more = value != 0
	}
	return s.in.Discard(length)
}

// numberIn returns the number of the machine of an encoded affiliate; -1 for none.
func numberIn(affiliate []byte) int {
	number, kind, n := protowire.ConsumeTag(affiliate)
	if n < 0 || number != fieldID || kind != protowire.BytesType {
		return -1
	}
	id, m := protowire.ConsumeBytes(affiliate[n:])
	if m < 0 {
		return -1
	}
	return numberOf(string(id))
}

// frame returns a gRPC message.
func frame(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

// checkStatus returns an error unless the status of a call is OK.
func checkStatus(method, status, text string) error {
	if status == "0" {
		return nil
	}
	return fmt.Errorf("%s: the server answers gRPC status %q: %s", method, status, text)
}
