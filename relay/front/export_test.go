package front

import "time"

// CloseUnregistered closes the streams at which no member is registered.
func (f *Front) CloseUnregistered(now time.Time) { f.closeUnregistered(now) }
