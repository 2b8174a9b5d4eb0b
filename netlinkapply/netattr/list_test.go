package netattr

import (
	"bytes"
	"testing"
)

func TestList(t *testing.T) {
	type pair struct {
		kind  uint16
		value string
	}
	for _, c := range []struct {
		name  string
		bytes []byte
		want  []pair
		bad   bool
	}{
		{name: "nothing"},
		{"one", []byte{5, 0, 3, 0, 'x', 0, 0, 0}, []pair{{3, "x"}}, false},
		{"two, the last without padding", []byte{5, 0, 3, 0, 'x', 0, 0, 0, 6, 0, 4, 0, 'y', 'z'}, []pair{{3, "x"}, {4, "yz"}}, false},
		{"the marks of nested and of the order", []byte{4, 0, 3, 0xc0}, []pair{{3, ""}}, false},
		{"part of a header", []byte{4, 0, 3, 0, 4}, []pair{{3, ""}}, true},
		{"longer than the rest", []byte{9, 0, 3, 0, 'x', 0, 0, 0}, nil, true},
		{"shorter than its header", []byte{3, 0, 3, 0}, nil, true},
		{"no length", make([]byte, 8), nil, true},
	} {
		l := NewList(c.bytes)
		var got []pair
		for l.Next() {
			got = append(got, pair{l.Kind, string(l.Value)})
		}
		same := len(got) == len(c.want)
		for i := range got {
			same = same && got[i] == c.want[i]
		}
		if !same || (l.Err != nil) != c.bad || l.Next() {
			t.Errorf("%s: %v, %v, want %v", c.name, got, l.Err, c.want)
		}
	}
}

func TestNumber(t *testing.T) {
	for _, size := range []int{1, 2, 4, 8} {
		l := List{Value: bytes.Repeat([]byte{7}, size)}
		if n, want := l.Number(size), uint64(0x0707070707070707)>>(64-8*size); n != want || l.Err != nil {
			t.Errorf("%d bytes: %#x, %v, want %#x", size, n, l.Err, want)
		}
		if n := l.Number(size + 1); n != 0 || l.Err == nil {
			t.Errorf("%d bytes, of which one is missing: %#x", size, n)
		}
	}
}
