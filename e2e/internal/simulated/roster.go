package simulated

// Roster is a set of machines, by number. The zero value is empty. It is for one goroutine at
// a time.
type Roster struct{ words []uint64 }

const wordBits = 64

// Add adds a machine. Negative numbers are no machines.
func (r *Roster) Add(number int) {
	if number < 0 {
		return
	}
	for number/wordBits >= len(r.words) {
		r.words = append(r.words, 0)
	}
	r.words[number/wordBits] |= 1 << (number % wordBits)
}

// Remove removes a machine.
func (r *Roster) Remove(number int) {
	if number >= 0 && number/wordBits < len(r.words) {
		r.words[number/wordBits] &^= 1 << (number % wordBits)
	}
}

// Clear removes all machines.
func (r *Roster) Clear() { clear(r.words) }

// Compare reports whether r lacks some of the machines of all but one, and whether it has others.
// A negative one leaves out none.
func (r *Roster) Compare(all *Roster, one int) (lacks, extra bool) {
	for i := range max(len(r.words), len(all.words)) {
		has, wanted := r.word(i), all.word(i)
		if one >= 0 && one/wordBits == i {
			wanted &^= 1 << (one % wordBits)
		}
		lacks, extra = lacks || wanted&^has != 0, extra || has&^wanted != 0
	}
	return lacks, extra
}

func (r *Roster) word(i int) uint64 {
	if i < len(r.words) {
		return r.words[i]
	}
	return 0
}
