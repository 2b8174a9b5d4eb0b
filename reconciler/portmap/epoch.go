package portmap

import "time"

// epoch follows the time that a gateway says it has kept its mappings. The zero value knows none.
type epoch struct {
	known bool
	// said is what the gateway has said at a time.
	said time.Duration
	at   time.Time
}

// follows reports whether what the gateway says now fits with what it has said before: else it has
// started anew and lost its mappings (RFC 6887, section 8.5).
func (e *epoch) follows(now time.Time, said *time.Duration) bool {
	if said == nil {
		return true
	}
	before := *e
	*e = epoch{known: true, said: *said, at: now}
	if !before.known {
		return true
	}
	const slack = 2 * time.Second
	here, there := now.Sub(before.at), *said-before.said
	return there >= -time.Second && here+slack >= there-there/16 && there+slack >= here-here/16
}
