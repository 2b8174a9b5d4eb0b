package support

import "testing"

// Host names come from other machines, and may be anything.
func TestNamesThatAreNoWords(t *testing.T) {
	s := NewScrubber(Default, Facts{Names: []string{":", "my laptop", "a:b", "laptop"}})
	for _, c := range [][2]string{
		{"my laptop (laptop) at fd00::1", "name-1 (name-2) at ula-1"},
		{`{"name": "web", "at": "[fd00::1]:51820"}`, `{"name": "web", "at": "[ula-1]:51820"}`},
		{"fd00::1:a:b and my laptops", "ula-2 and my laptops"},
		{":", "name-3"},
		{"of a:b, my laptop", "of name-4, name-1"},
	} {
		if got := s.Text(c[0]); got != c[1] {
			t.Errorf("%s becomes %q, want %q", c[0], got, c[1])
		}
	}
}
