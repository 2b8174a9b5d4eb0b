package payload

import (
	"fmt"
	"time"

	"github.com/spanmesh/span/discoveryhttp/clientpb"
)

// Stamp says which publication of a machine a sealed affiliate is. The zero value is that
// of a machine that does not number its publications, such as a Talos node.
type Stamp struct {
	// Sequence is larger than that of every earlier publication of the node ID.
	Sequence Sequence
	// Instance is random and differs from process to process.
	Instance Instance
	// Left is set when the machine has left the mesh.
	Left bool
}

// Sequence is the number of a publication: the microseconds since 1970 at which it was
// made, or one more than the number before. 0 is none.
type Sequence uint64

// maxSequence bounds sequences, so that the next one is always larger.
const maxSequence Sequence = 1 << 62

// Next returns the sequence of a publication at a time, after the publication with
// sequence s.
func (s Sequence) Next(now time.Time) Sequence { return max(s+1, SequenceAt(now)) }

// SequenceAt returns the sequence of a time.
func SequenceAt(t time.Time) Sequence { return Sequence(max(t.UnixMicro(), 0)) }

// Time returns the time of a sequence.
func (s Sequence) Time() time.Time { return time.UnixMicro(int64(min(s, maxSequence))).UTC() }

// Instance identifies a process that publishes. The zero value is none.
type Instance [8]byte

// encode sets the fields of a message.
func (s Stamp) encode(into *clientpb.Affiliate) {
	into.Sequence, into.Left = uint64(s.Sequence), s.Left
	if s.Instance != (Instance{}) {
		into.Instance = s.Instance[:]
	}
}

// decodeStamp is the inverse of encode.
func decodeStamp(in *clientpb.Affiliate) (Stamp, error) {
	s := Stamp{Sequence: Sequence(in.GetSequence()), Left: in.GetLeft()}
	if s.Sequence > maxSequence {
		return Stamp{}, fmt.Errorf("has the sequence %d, want at most %d", s.Sequence, maxSequence)
	}
	switch raw := in.GetInstance(); len(raw) {
	case 0:
	case len(s.Instance):
		s.Instance = Instance(raw)
	default:
		return Stamp{}, fmt.Errorf("has an instance of %d bytes, want %d", len(raw), len(s.Instance))
	}
	return s, nil
}
