package echo

import (
	"errors"
	"testing"
)

func TestFindMTU(t *testing.T) {
	for _, c := range []struct {
		name      string
		mtu, path int
		want      PathMTU
	}{
		{"all pass", 1420, 1500, PathMTU{true, 1420, 1420}},
		{"all pass just so", 1420, 1420, PathMTU{true, 1420, 1420}},
		{"one byte is missing", 1420, 1419, PathMTU{true, 1420, 1408}},
		{"a padded size", 1420, 1392, PathMTU{true, 1420, 1392}},
		{"between two padded sizes", 1420, 1399, PathMTU{true, 1420, 1392}},
		{"only the least", 1420, 1280, PathMTU{true, 1420, 1280}},
		{"not the least", 1420, 1279, PathMTU{true, 1420, 0}},
		{"the least is all", 1280, 1500, PathMTU{true, 1280, 1280}},
		{"the least is too much", 1280, 1000, PathMTU{true, 1280, 0}},
		{"large", 8920, 1420, PathMTU{true, 8920, 1408}},
		{"no echo is answered", 1420, 0, PathMTU{false, 1420, 0}},
	} {
		asked := 0
		got, err := findMTU(c.mtu, func(size int) (bool, error) { asked++; return size <= c.path, nil })
		if err != nil || got != c.want {
			t.Errorf("%s: got %+v, %v, want %+v", c.name, got, err, c.want)
		}
		if asked > 14 {
			t.Errorf("%s: %d sizes were tried", c.name, asked)
		}
	}
}

// TestFindMTUOfOneThatGoes has the peer go away after a number of sizes.
func TestFindMTUOfOneThatGoes(t *testing.T) {
	asked := 0
	got, err := findMTU(1420, func(int) (bool, error) { asked++; return asked == 1, nil })
	if err != nil || got.Answers {
		t.Errorf("a peer that went away is judged: %+v, %v", got, err)
	}
	broken := errors.New("broken")
	for n := 1; n <= 8; n++ {
		asked := 0
		if _, err := findMTU(1420, func(size int) (bool, error) {
			if asked++; asked == n {
				return false, broken
			}
			return size <= 1400, nil
		}); !errors.Is(err, broken) {
			t.Errorf("the error of try %d is %v", n, err)
		}
	}
}

// TestFindMTUInAnOutage has nothing pass for the time of one size or two, after which all do.
func TestFindMTUInAnOutage(t *testing.T) {
	for first := 2; first <= 6; first++ {
		for last := first; last <= first+1; last++ {
			asked := 0
			got, err := findMTU(1420, func(int) (bool, error) { asked++; return asked < first || asked > last, nil })
			if want := (PathMTU{true, 1420, 1420}); err != nil || got != want && got.Answers {
				t.Errorf("nothing passes from try %d to %d: %+v, %v", first, last, got, err)
			}
		}
	}
}
