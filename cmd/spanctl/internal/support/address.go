package support

import (
	"net/netip"
	"strings"
)

// The forms of addresses.
var (
	mac = pattern(`\b[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}\b`)
	ip  = pattern(`[0-9A-Fa-f]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*|\b[0-9]{1,3}(?:\.[0-9]{1,3}){3}\b`)
)

// replaceMAC replaces a MAC, but that of nobody and that of all.
func (s *Scrubber) replaceMAC(text string) string {
	if strings.Trim(text, "0:-") == "" || strings.Trim(text, "fF:-") == "" {
		return text
	}
	return s.placeholder("mac", strings.ReplaceAll(text, "-", ":"))
}

// cgnat is the address space that providers share between their customers (RFC 6598).
var cgnat = netip.MustParsePrefix("100.64.0.0/10")

// replaceAddress replaces an IP address. What only looks like one is left.
func (s *Scrubber) replaceAddress(text string) string {
	trimmed := strings.TrimSuffix(text, ".")
	a, err := netip.ParseAddr(trimmed)
	if err != nil {
		if trimmed = strings.TrimSuffix(trimmed, ":"); trimmed == text {
			return text
		}
		if a, err = netip.ParseAddr(trimmed); err != nil {
			return text
		}
	}
	a = a.Unmap()
	rest := text[len(trimmed):]
	isULA := a.Is6() && a.IsPrivate()
	switch {
	case a.IsLoopback(), a.IsUnspecified(), a.IsMulticast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return text
	case isULA:
		return s.placeholder("ula", a.String()) + rest
	case a.Is6() && a.IsLinkLocalUnicast():
		return s.placeholder("linklocal", a.String()) + rest
	case a.IsPrivate(), a.IsLinkLocalUnicast(), cgnat.Contains(a):
		if s.mode != Strict {
			return text
		}
		return s.placeholder("private", a.String()) + rest
	default:
		return s.placeholder("public", a.String()) + rest
	}
}
