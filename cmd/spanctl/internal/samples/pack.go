package samples

import (
	"math"
	"math/bits"
	"time"

	"github.com/spanmesh/span/reconciler/peer"
)

// Numbers are kept as a mantissa of some bits and an exponent above it, as floating-point numbers are.
// Small ones are exact.
const (
	// byteBits is the mantissa of a number of bytes, which has 24 bits in all: the error is at most
	// 2 in a million.
	byteBits = 18
	// rttBits is the mantissa of a round-trip time in microseconds, which has 16 bits in all.
	rttBits = 11
	// maxRTT is the longest round-trip time in microseconds, 25 days.
	maxRTT = 1 << 41
	// lossLevels is how many levels of loss there are, beside one that is not known.
	lossLevels = 63
)

// pack returns a number with so many bits of its beginning.
func pack(n uint64, mantissa int) uint32 {
	shift := bits.Len64(n) - 1 - mantissa
	if shift < 0 {
		return uint32(n) //nolint:gosec // it has at most as many bits as the mantissa
	}
	if shift > 0 {
		if rounded := n + 1<<(shift-1); rounded > n {
			n = rounded
			shift = bits.Len64(n) - 1 - mantissa
		}
	}
	return uint32(shift+1)<<mantissa | uint32(n>>shift)&(1<<mantissa-1) //nolint:gosec // as above
}

// unpack returns the number that pack was given, nearly.
func unpack(p uint32, mantissa int) uint64 {
	exponent, begin := p>>mantissa, uint64(p&(1<<mantissa-1))
	if exponent == 0 {
		return begin
	}
	return (1<<mantissa | begin) << (exponent - 1)
}

// grade is a state, the worst is the largest.
type grade uint8

// The grades. The zero value is that of a time of which nothing is known.
const (
	unread grade = iota
	up
	unknown
	down
)

func gradeOf(s peer.State) grade {
	switch s {
	case peer.Up:
		return up
	case peer.Down:
		return down
	default:
		return unknown
	}
}

func (g grade) state() peer.State {
	return [...]peer.State{unread: "", up: peer.Up, unknown: peer.Unknown, down: peer.Down}[g&3]
}

// link is what is known of the connection to a peer at a time.
type link struct {
	grade grade
	// loss is zero if it is not known, else one more than the level.
	loss uint8
	rtt  uint16
}

func linkOf(r *Reading) link {
	l := link{grade: gradeOf(r.State)}
	if r.RTT > 0 {
		// An answer within less than a microsecond is one too.
		l.rtt = uint16(pack(min(uint64(max(r.RTT.Microseconds(), 1)), maxRTT), rttBits)) //nolint:gosec // it is positive, and has 16 bits
	}
	if r.LossKnown {
		l.loss = 1 + uint8(math.Round(min(max(r.Loss, 0), 1)*(lossLevels-1)))
	}
	return l
}

// record is a sample in nine bytes.
type record struct {
	// mark has the grade in two bits, and the loss above them.
	mark                  uint8
	rtt                   [2]byte
	received, transmitted [3]byte
}

func recordOf(l link, received, transmitted uint64) record {
	if l.grade == unread {
		return record{}
	}
	return record{
		mark:        uint8(l.grade) | l.loss<<2,
		rtt:         [2]byte{byte(l.rtt), byte(l.rtt >> 8)},
		received:    split(pack(received, byteBits)),
		transmitted: split(pack(transmitted, byteBits)),
	}
}

func split(n uint32) [3]byte { return [3]byte{byte(n), byte(n >> 8), byte(n >> 16)} }

func join(b [3]byte) uint32 { return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 }

// sample returns what a record has, of a step that begins at a time.
func (r *record) sample(begin time.Duration) Sample {
	s := Sample{
		Begin:       begin,
		State:       grade(r.mark & 3).state(),
		RTT:         time.Duration(unpack(uint32(r.rtt[0])|uint32(r.rtt[1])<<8, rttBits)) * time.Microsecond, //nolint:gosec // at most maxRTT
		Received:    unpack(join(r.received), byteBits),
		Transmitted: unpack(join(r.transmitted), byteBits),
	}
	if level := r.mark >> 2; level > 0 {
		s.Loss, s.LossKnown = float64(level-1)/(lossLevels-1), true
	}
	return s
}

// merge returns the record of a step that consists of shorter ones: the worst state, the mean of
// what is known, and the sum of the bytes.
func merge(steps []Sample) record {
	var all Reading
	var worst grade
	var rtts, losses int
	var received, transmitted uint64
	for _, s := range steps {
		if s.State != "" {
			worst = max(worst, gradeOf(s.State))
		}
		if s.RTT > 0 {
			all.RTT += s.RTT
			rtts++
		}
		if s.LossKnown {
			all.Loss += s.Loss
			losses++
		}
		received, transmitted = received+s.Received, transmitted+s.Transmitted
	}
	all.RTT /= time.Duration(max(rtts, 1))
	all.Loss, all.LossKnown = all.Loss/float64(max(losses, 1)), losses > 0
	l := linkOf(&all)
	l.grade = worst
	return recordOf(l, received, transmitted)
}
