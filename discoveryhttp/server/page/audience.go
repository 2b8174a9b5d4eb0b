package page

import "math"

// Audience is who looks at a page, by what they may see.
type Audience int

const (
	// Nothing is for those who may see no numbers: only if the server works, and its version.
	Nothing Audience = iota
	// Rounded is for the public. It has two digits of each number, and none of a time with few
	// clusters.
	Rounded
	// Everything is for the operator.
	Everything

	audienceCount
)

var audienceNames = [audienceCount]string{"nothing", "rounded", "everything"}

// Few is the number of clusters below which the public sees no numbers: those of few clusters tell
// when a single machine comes, goes or restarts.
const Few = 10

// mayShow reports whether the audience sees numbers of a time with some clusters.
func (a Audience) mayShow(clusters float32) bool {
	return a == Everything || a == Rounded && clusters >= Few
}

// Count returns a number as the audience sees it.
func (a Audience) Count(n int) int {
	switch a {
	case Everything:
		return n
	case Rounded:
		return int(roundTo(float64(n), 2))
	case Nothing, audienceCount:
	}
	return 0
}

// MayShow reports whether the audience sees the numbers of a server with some clusters.
func (a Audience) MayShow(clusters int) bool { return a.mayShow(float32(clusters)) }

// digits returns how many digits of a number that is no count the audience sees.
func (a Audience) digits() int {
	if a == Everything {
		return 3
	}
	return 2
}

// number returns the value of a column as the audience sees it.
func (a Audience) number(column int, value float32) float64 {
	if a == Everything && column < firstCall {
		return float64(value)
	}
	return roundTo(float64(value), a.digits())
}

// roundTo returns a number that is not negative, rounded down to some digits.
func roundTo(n float64, digits int) float64 {
	if n < math.SmallestNonzeroFloat32 || math.IsNaN(n) || math.IsInf(n, 0) {
		return n
	}
	// The scale has no more than a digit too few, where n is a power of ten.
	exponent := int(math.Floor(math.Log10(n))) - digits + 1
	if exponent >= 0 {
		scale := math.Pow10(exponent)
		return math.Floor(n/scale) * scale
	}
	scale := math.Pow10(-exponent)
	// Half a millionth makes up for what a binary fraction lacks.
	return math.Floor(n*scale*(1+5e-7)) / scale
}
