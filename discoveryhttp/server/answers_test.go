package server

import "testing"

func TestAnswersThatAreNotTaken(t *testing.T) {
	const spare = 2
	for name, c := range map[string]struct {
		// given and taken are the numbers between two looks.
		given, taken []int64
		want         bool
	}{
		"all taken":                  {[]int64{5, 0, 0, 0}, []int64{5, 0, 0, 0}, false},
		"taken by the second look":   {[]int64{5, 0, 0, 0}, []int64{0, 5, 0, 0}, false},
		"none taken":                 {[]int64{5, 0, 0, 0}, []int64{0, 0, 0, 0}, true},
		"a few lost for good":        {[]int64{5, 5, 5, 5}, []int64{3, 5, 5, 5}, false},
		"only one taken at a time":   {[]int64{9, 1, 1, 1}, []int64{1, 1, 1, 1}, true},
		"many at once, always taken": {[]int64{900, 900, 900, 900}, []int64{100, 900, 900, 900}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var a answers
			stuck := false
			for i := range c.given {
				a.given.Add(c.given[i])
				a.taken.Add(c.taken[i])
				stuck = a.look(spare) || stuck
			}
			if stuck != c.want {
				t.Errorf("stuck is %v, want %v", stuck, c.want)
			}
		})
	}
}
