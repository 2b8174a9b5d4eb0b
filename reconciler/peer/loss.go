package peer

import (
	"math/bits"
	"time"
)

// Echoes counts the echoes to a peer and their answers.
type Echoes struct {
	// Sent and Answered count all since the peer was first seen.
	Sent, Answered int64

	// lost has a bit for each of the latest echoes: the latest is the lowest, and it is set for
	// an echo without an answer. The lowest known bits count.
	lost  uint64
	known int
	// open is set while the latest echo has no answer and still may get one. It is not in lost.
	open bool
}

const (
	// recentEchoes is how many echoes Lossy is judged by, and minLossEchoes how many it needs.
	recentEchoes, minLossEchoes = 20, 10
	// lossBegins is the share of them, in percent, from which on a peer is lossy, until it is less than
	// lossEnds.
	lossBegins, lossEnds = 20, 10
)

// recent returns how many percent of the latest recentEchoes had no answer.
func (e *Echoes) recent() int {
	n := min(e.known, recentEchoes)
	if n == 0 {
		return 0
	}
	return 100 * bits.OnesCount64(e.lost&(1<<n-1)) / n
}

// noteLoss sets Lossy.
func (s *Status) noteLoss(now time.Time) {
	_, known := s.Loss(now)
	switch loss := s.Echoes.recent(); {
	case !known || loss < lossEnds:
		s.Lossy = false
	case s.Echoes.known >= minLossEchoes && loss >= lossBegins:
		s.Lossy = true
	}
}

// RecentLoss returns how many percent of the latest 20 echoes had no answer.
func (s *Status) RecentLoss() int { return s.Echoes.recent() }

// noteSent notes that an echo is sent. The one before it had its time.
func (e *Echoes) noteSent() {
	if e.open {
		e.note(1)
	}
	e.Sent++
	e.open = true
}

// noteAnswer notes an answer. One that no echo waits for is that of an echo which counts as lost.
func (e *Echoes) noteAnswer() {
	switch {
	case e.open:
		e.note(0)
		e.open = false
	case e.lost != 0:
		e.lost &= e.lost - 1
	default:
		return
	}
	e.Answered++
}

func (e *Echoes) note(lost uint64) {
	e.lost, e.known = e.lost<<1|lost, min(e.known+1, 64)
}

// forget makes the loss that of the echoes that follow.
func (e *Echoes) forget() { e.lost, e.known, e.open = 0, 0, false }

// Loss returns how many percent of the latest 64 echoes had no answer. It is not known for a peer
// that is not up, or whose firewall drops echoes.
func (s *Status) Loss(now time.Time) (percent float64, known bool) {
	e := &s.Echoes
	if s.State != Up || !s.echoes || now.Before(s.distrustedUntil.Time()) || e.known == 0 {
		return 0, false
	}
	return 100 * float64(bits.OnesCount64(e.lost)) / float64(e.known), true
}
