package mesh

// OfflineReason says why a link does not connect the machine to others. It continues a sentence that
// begins with the link's name.
type OfflineReason string

// The reasons.
const (
	// LinkDown is the reason of a link that is not set up.
	LinkDown OfflineReason = "is down"
	// NoCarrier is the reason of a link without a cable, or whose other end is down.
	NoCarrier OfflineReason = "has no carrier"
	// NoAddress is the reason of a link that is up and has no address.
	NoAddress OfflineReason = "has no address"
)

// OfflineLink is a link that does not connect the machine to others. It has no name where there is
// none but the loopback.
type OfflineLink struct {
	Name string
	Why  OfflineReason
}

// String says so, as in "eth0 has no carrier".
func (l OfflineLink) String() string {
	if l.Name == "" {
		return "there is no link but the loopback"
	}
	return l.Name + " " + string(l.Why)
}
