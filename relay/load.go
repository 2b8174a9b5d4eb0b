package relay

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

var errCut = errors.New("truncated")

// loader reads what a saver has written. After the first error, all is zero.
type loader struct {
	b   []byte
	now instant
	// gone is the time since it was saved.
	gone instant
	err  error
}

func (l *loader) take(n int) []byte {
	if l.err == nil && len(l.b) < n {
		l.err = errCut
	}
	if l.err != nil {
		return make([]byte, n)
	}
	b := l.b[:n]
	l.b = l.b[n:]
	return b
}

// fail keeps the first error.
func (l *loader) fail(err error) {
	if l.err == nil {
		l.err = err
	}
}

func (l *loader) u32() uint32   { return binary.BigEndian.Uint32(l.take(4)) }
func (l *loader) u64() uint64   { return binary.BigEndian.Uint64(l.take(8)) }
func (l *loader) key() Key      { return Key(l.take(32)) }
func (l *loader) flag() bool    { return l.take(1)[0] == 1 }
func (l *loader) short() []byte { return l.take(int(binary.BigEndian.Uint16(l.take(2)))) }

// count reads a number of things that have at least a size, within a limit.
func (l *loader) count(what string, limit, size int) int {
	n := int(l.u32())
	if l.err == nil && (n > limit || n*size > len(l.b)) {
		l.err = fmt.Errorf("%d %s are beyond the limit", n, what)
	}
	if l.err != nil {
		return 0
	}
	return n
}

// until reads what is left of a time, of a whole.
func (l *loader) until(whole time.Duration) instant {
	return l.now + instant(min(l.u64(), uint64(whole))) - l.gone
}

func (l *loader) address() netip.Addr {
	b := l.short()
	a, ok := netip.AddrFromSlice(b)
	if !ok && len(b) > 0 && l.err == nil {
		l.err = errors.New("an address has a bad length")
	}
	return a
}

func (l *loader) source() (from Source, located bool) {
	if !l.flag() {
		return Source{}, false
	}
	if err := from.Addr.UnmarshalBinary(l.short()); err != nil && l.err == nil {
		l.err = err
	}
	return from, l.err == nil
}

func (l *loader) end(ends []*end) *end {
	i := l.u32()
	if i == noEnd || l.err != nil {
		return nil
	}
	if int64(i) >= int64(len(ends)) {
		l.err = errors.New("unknown end")
		return nil
	}
	return ends[i]
}
