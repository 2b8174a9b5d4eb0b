package cli

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/discoveryhttp/invitation"
)

// TestJoinErrors has what `spanctl join` says for each way in which an invitation is not taken.
func TestJoinErrors(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	certificate := func(err error) error {
		return fmt.Errorf("take the invitation: %w", &tls.CertificateVerificationError{Err: err})
	}
	for name, c := range map[string]struct {
		err   error
		wants []string
	}{
		"expired": {&invitation.EndedError{Uses: 1, Expires: now.Add(-time.Hour)},
			[]string{"the invitation expired at 2026-01-01T11:00:00Z: ask for another line: `spanctl invite` on a machine of the mesh"}},
		"expired, with a clock that is off": {&invitation.EndedError{Expires: now, Skew: -3 * time.Hour},
			[]string{"ask for another line", "(the clock of this machine is 3h behind the server's: set it, such as with `timedatectl set-ntp true`)"}},
		"used":        {&invitation.EndedError{Used: true, Uses: 3}, []string{"is used up: it was for 3", "with --uses for several machines"}},
		"unknown":     {invitation.ErrUnknown, []string{"it was revoked, or expired more than a day ago, or the line is for another server", "ask for another line"}},
		"unsupported": {invitation.ErrUnsupported, []string{"check that the address of the line is that of the discovery server"}},
		"unreachable": {errors.New("connection refused"), []string{"connection refused: check that this machine reaches the server", "$HTTPS_PROXY", "not counted twice"}},
		"a certificate of another time": {certificate(x509.CertificateInvalidError{Cert: &x509.Certificate{}, Reason: x509.Expired}),
			[]string{"the clock of this machine says 2026-01-01T12:00:00Z: set it if that is wrong, else the certificate of the server is to be renewed"}},
		"a certificate of a stranger": {certificate(x509.UnknownAuthorityError{}), []string{"add the authority of the server's certificate to those of this system"}},
		"a certificate for another":   {certificate(x509.HostnameError{Certificate: &x509.Certificate{}, Host: "x"}), []string{"the certificate is to have the name in the line"}},
	} {
		text := joinError(c.err, now).Error()
		for _, want := range c.wants {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %s: want %q", name, text, want)
			}
		}
	}
	if text := skewText(30 * time.Second); text != "" {
		t.Errorf("a clock that is right: %s", text)
	}
}
