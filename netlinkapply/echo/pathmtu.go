package echo

import (
	"context"
	"time"
)

const (
	// LeastMTU is the size of a packet in bytes that every link with IPv6 passes (RFC 8200,
	// section 5).
	LeastMTU = 1280
	// padding is the multiple to which WireGuard pads packets below the link's MTU (WireGuard
	// paper, section 5.4.6): others make no difference on the way.
	padding = 16
	// smallSize is the size of the packets that show whether the peer answers echoes.
	smallSize = 64
	// sizeTries is how many packets of a size are sent before it counts as lost. Where a tenth of
	// the packets is lost in each direction, five have no answer once in four thousand times.
	sizeTries = 5
	// sizePause is the pause between them.
	sizePause = 200 * time.Millisecond
)

// PathMTU is which packets pass on the way to a peer and back.
type PathMTU struct {
	// Answers is set if the peer answers small echoes. Otherwise the rest is not known.
	Answers bool
	// Full is the largest packet that was tried, in bytes: the link's MTU.
	Full int
	// Passes is the largest packet that passed, in bytes; zero if not even LeastMTU did.
	Passes int
}

// PathMTU finds the largest packet that passes, up to the link's MTU. It waits for each answer for
// some time.
func (c *Conn) PathMTU(ctx context.Context, mtu int, wait time.Duration) (PathMTU, error) {
	return findMTU(mtu, func(size int) (bool, error) {
		_, answered, err := c.try(ctx, size, sizeTries, sizePause, wait)
		return answered, err
	})
}

// findMTU is PathMTU for passes, which tells whether packets of a size pass.
func findMTU(mtu int, passes func(size int) (bool, error)) (PathMTU, error) {
	found := PathMTU{Full: mtu}
	var err error
	if found.Answers, err = passes(smallSize); !found.Answers || err != nil {
		return found, err
	}
	full, err := passes(mtu)
	if err != nil {
		return found, err
	}
	if full {
		found.Passes = mtu
		return found, nil
	}
	// It may be the peer that has gone.
	if found.Answers, err = passes(smallSize); !found.Answers || err != nil {
		return found, err
	}
	if found.Passes, err = largest(mtu, passes); err != nil {
		return found, err
	}
	// Nothing may have passed for a moment, while the first of them was sent.
	if full, err = passes(mtu); full {
		found.Passes = mtu
	}
	return found, err
}

// largest returns the largest size below mtu that passes; zero if not even LeastMTU does.
func largest(mtu int, passes func(size int) (bool, error)) (found int, err error) {
	if least, err := passes(LeastMTU); !least || err != nil {
		return 0, err
	}
	found = LeastMTU
	for low, high := LeastMTU/padding, (mtu+padding-1)/padding; low+1 < high; {
		middle := (low + high) / 2
		pass, err := passes(middle * padding)
		if err != nil {
			return found, err
		}
		if pass {
			low, found = middle, middle*padding
		} else {
			high = middle
		}
	}
	return found, nil
}
