package names

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
)

const (
	// maxLabel is the length of the longest label of a name, and maxName that of the longest name (RFC
	// 1035, section 2.3.4, without the root).
	maxLabel = 63
	maxName  = 253
	// suffixLength is that of what tells machines with one label apart, with its hyphen.
	suffixLength = len("-0000")
)

// unusable are labels that programs look up by themselves, and that no machine is called by.
var unusable = []string{"localhost", "wpad", "isatap"}

// Label returns the label by which a machine with a host name is found. It is not ok if the name is
// not one that a machine may have.
func Label(hostname string) (label string, ok bool) {
	if len(hostname) > maxName {
		return "", false
	}
	if _, err := netip.ParseAddr(hostname); err == nil {
		return "", false
	}
	label, _, _ = strings.Cut(hostname, ".")
	label = strings.ToLower(label)
	return label, isLabel(label) && !slices.Contains(unusable, label)
}

// isLabel reports whether a text in lower case is a label of a host name (RFC 1123, section 2.1).
func isLabel(text string) bool {
	if text == "" || len(text) > maxLabel || text[0] == '-' || text[len(text)-1] == '-' {
		return false
	}
	for i := range len(text) {
		if c := text[i]; c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// Suffixed returns the label of the machine with a node ID, one of several with that label.
func Suffixed(label, nodeID string) string {
	sum := sha256.Sum256([]byte(nodeID))
	label = strings.TrimRight(label[:min(len(label), maxLabel-suffixLength)], "-")
	return label + "-" + hex.EncodeToString(sum[:2])
}
