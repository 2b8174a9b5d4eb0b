package simulated

// Set is a set of machines, by number. The zero value is empty. It is for one goroutine at
// a time.
type Set struct{ words []uint64 }

const wordBits = 64

// Add adds a machine. Negative numbers are no machines.
func (s *Set) Add(number int) {
	if number < 0 {
		return
	}
	for number/wordBits >= len(s.words) {
		s.words = append(s.words, 0)
	}
	s.words[number/wordBits] |= 1 << (number % wordBits)
}

// Remove removes a machine.
func (s *Set) Remove(number int) {
	if number >= 0 && number/wordBits < len(s.words) {
		s.words[number/wordBits] &^= 1 << (number % wordBits)
	}
}

// Clear removes all machines.
func (s *Set) Clear() { clear(s.words) }

// Compare reports whether s lacks some of the machines of all but one, and whether it has others.
// A negative one leaves out none.
func (s *Set) Compare(all *Set, one int) (lacks, extra bool) {
	for i := range max(len(s.words), len(all.words)) {
		has, wanted := s.word(i), all.word(i)
		if one >= 0 && one/wordBits == i {
			wanted &^= 1 << (one % wordBits)
		}
		lacks, extra = lacks || wanted&^has != 0, extra || has&^wanted != 0
	}
	return lacks, extra
}

func (s *Set) word(i int) uint64 {
	if i < len(s.words) {
		return s.words[i]
	}
	return 0
}
