package cli

import (
	"errors"
	"math"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/pflag"
)

// sizeFlag is the value of a flag that is a number of bytes: 536870912, 512MiB, 512Mi or 2G.
type sizeFlag[T int | int64] struct{ to *T }

var _ pflag.Value = sizeFlag[int]{}

// sizeVar adds a flag of a size, whose default is the value that it has.
func sizeVar[T int | int64](flags *pflag.FlagSet, to *T, name, usage string) {
	flags.Var(sizeFlag[T]{to}, name, usage)
}

// errSize is the error of a flag that is no size.
var errSize = errors.New("want bytes, or a size such as 512MiB (1024 x 1024 bytes each) or 2G (1000 x 1000 x 1000)")

// Set implements pflag.Value.
func (f sizeFlag[T]) Set(text string) error {
	if bytes, err := strconv.ParseInt(strings.TrimSuffix(text, "B"), 10, strconv.IntSize); err == nil {
		*f.to = T(bytes)
		return nil
	}
	bytes, err := humanize.ParseBytes(text)
	if err != nil || bytes > math.MaxInt {
		return errSize
	}
	*f.to = T(bytes) //nolint:gosec // no more than MaxInt
	return nil
}

// String implements pflag.Value. It returns exactly the value, in the largest unit of which it
// is a multiple.
func (f sizeFlag[T]) String() string {
	if f.to == nil {
		return "0"
	}
	n, unit := int64(*f.to), "B"
	if n == 0 {
		return "0"
	}
	for _, next := range []string{"KiB", "MiB", "GiB"} {
		if n%1024 != 0 {
			break
		}
		n, unit = n/1024, next
	}
	return strconv.FormatInt(n, 10) + unit
}

// Type implements pflag.Value. It is what help shows for the value.
func (sizeFlag[T]) Type() string { return "size" }
