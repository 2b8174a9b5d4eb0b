// Package netattr reads netlink attributes (netlink(7)) without garbage.
package netattr

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	// Alignment is that of attributes and messages.
	Alignment = 4
	// header is the length of an attribute's header.
	header = 4
)

var errCutOff = errors.New("a netlink attribute is cut off")

// List reads attributes one behind the other.
type List struct {
	// Kind and Value are those of the present attribute.
	Kind  uint16
	Value []byte
	// Err is the first error.
	Err error

	rest []byte
}

// NewList returns the list of the attributes in some bytes.
func NewList(bytes []byte) List { return List{rest: bytes} }

// Next reads an attribute. It returns false behind the last one, and after an error.
func (l *List) Next() bool {
	if len(l.rest) == 0 || l.Err != nil {
		return false
	}
	if len(l.rest) < header {
		l.Err = errCutOff
		return false
	}
	length := int(binary.NativeEndian.Uint16(l.rest))
	if length < header || length > len(l.rest) {
		l.Err = errCutOff
		return false
	}
	l.Kind = binary.NativeEndian.Uint16(l.rest[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
	l.Value = l.rest[header:length]
	l.rest = l.rest[min(Align(length), len(l.rest)):]
	return true
}

// Find reads on to the next attribute of a kind, and reports whether there is one.
func (l *List) Find(kind uint16) bool {
	for l.Next() {
		if l.Kind == kind {
			return true
		}
	}
	return false
}

// Number returns the value, a number of 1, 2, 4 or 8 bytes in the machine's order.
func (l *List) Number(size int) uint64 {
	if len(l.Value) != size {
		l.Err = fmt.Errorf("a netlink attribute has %d bytes, not %d", len(l.Value), size)
		return 0
	}
	switch size {
	case 1:
		return uint64(l.Value[0])
	case 2:
		return uint64(binary.NativeEndian.Uint16(l.Value))
	case 4:
		return uint64(binary.NativeEndian.Uint32(l.Value))
	default:
		return binary.NativeEndian.Uint64(l.Value)
	}
}

// Align returns the length of an attribute or message with its padding.
func Align(length int) int { return (length + Alignment - 1) &^ (Alignment - 1) }
