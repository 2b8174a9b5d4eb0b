package failure

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Class is a kind of failure. It is stable, and a value for programs.
type Class string

// The classes.
const (
	// Refused means that nothing listens at the port.
	Refused Class = "connection_refused"
	// NoSuchHost means that the name has no address.
	NoSuchHost Class = "no_such_host"
	// NameServer means that no name server has answered.
	NameServer Class = "name_server"
	// NoRoute means that this machine, or a router, has no way to the address.
	NoRoute Class = "no_route"
	// Filtered means that this machine's firewall does not let the packets out.
	Filtered Class = "filtered"
	// Timeout means that no answer came in time.
	Timeout Class = "timeout"
	// Closed means that the other end has closed the connection.
	Closed Class = "closed"
	// Status means that HTTP answered with an error, without the protocol's words.
	Status Class = "http_status"
	// Answered means that the service itself has refused the call.
	Answered Class = "answered"
	// Silent means that the service has accepted a call and sends nothing.
	Silent Class = "silent"
	// NotAcceptable means that no service of the protocol answers so.
	NotAcceptable Class = "not_acceptable"
	// NotYetValid and Expired mean that this clock is not within the time of the certificate.
	NotYetValid Class = "certificate_not_yet_valid"
	Expired     Class = "certificate_expired"
	// UnknownAuthority means that the certificate is signed by nobody who is trusted here.
	UnknownAuthority Class = "certificate_unknown_authority"
	// WrongName means that the certificate is for other hosts.
	WrongName Class = "certificate_wrong_name"
	// PlainHTTP means that what answers speaks HTTP without TLS.
	PlainHTTP Class = "plain_http"
	// TLS means that there was no TLS session for another reason.
	TLS Class = "tls"
	// Unauthorized means that the credentials are not known (401).
	Unauthorized Class = "unauthorized"
	// Forbidden means that the credentials have no right to it (403).
	Forbidden Class = "forbidden"
	// Other is everything else.
	Other Class = "other"
)

// IsTLS reports whether there was no TLS session.
func (c Class) IsTLS() bool {
	return slices.Contains([]Class{NotYetValid, Expired, UnknownAuthority, WrongName, PlainHTTP, TLS}, c)
}

// Failure is why a call failed. The zero value is none.
type Failure struct {
	Class Class
	// Text is what failed, in an operator's words, such as "connection refused".
	Text string
	// Request is what was asked for, such as "list nodes"; "" where that does not matter.
	Request string
	// Proxy is the URL of the proxy that did not pass the call on, without its password; "" for none.
	Proxy string
}

// Of returns the failure that an error is, at the time now; the zero value for nil.
func Of(now time.Time, err error) Failure {
	if err == nil {
		return Failure{}
	}
	for _, of := range []func(time.Time, error) Failure{ofCertificate, ofTLS, ofName, ofSystem, ofConnection} {
		if f := of(now, err); f.Class != "" {
			return f
		}
	}
	return Failure{Class: Other, Text: err.Error()}
}

func ofCertificate(now time.Time, err error) Failure {
	if invalid, is := errors.AsType[x509.CertificateInvalidError](err); is && invalid.Reason == x509.Expired && invalid.Cert != nil {
		c := invalid.Cert
		if now.Before(c.NotBefore) {
			return Failure{Class: NotYetValid, Text: fmt.Sprintf("the certificate is valid from %s, this clock says %s", stamp(c.NotBefore), stamp(now))}
		}
		return Failure{Class: Expired, Text: fmt.Sprintf("the certificate was valid until %s, this clock says %s", stamp(c.NotAfter), stamp(now))}
	}
	if unknown, is := errors.AsType[x509.UnknownAuthorityError](err); is {
		text := "nobody who is trusted here has signed the certificate"
		if c := unknown.Cert; c != nil {
			text = fmt.Sprintf("the certificate of %q is signed by %q, which is not trusted here", short(c.Subject.String()), short(c.Issuer.String()))
		}
		return Failure{Class: UnknownAuthority, Text: text}
	}
	if wrong, is := errors.AsType[x509.HostnameError](err); is {
		return Failure{Class: WrongName, Text: fmt.Sprintf("the certificate is for %s, not for %s", namesOf(wrong.Certificate), short(wrong.Host))}
	}
	return Failure{}
}

// stamp formats a time to the second: certificates have no more.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// namesOf returns the first hosts that a certificate is for.
func namesOf(c *x509.Certificate) string {
	const shown = 5
	if c == nil {
		return "no host"
	}
	names := slices.Clone(c.DNSNames)
	for _, a := range c.IPAddresses {
		names = append(names, a.String())
	}
	if len(names) == 0 {
		return "no host"
	}
	text := short(strings.Join(names[:min(len(names), shown)], ", "))
	if len(names) > shown {
		text += fmt.Sprintf(" and %d more", len(names)-shown)
	}
	return text
}

// short bounds a text that the other end has chosen.
func short(text string) string {
	const most = 200
	text = strings.ToValidUTF8(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, text), "?")
	return text[:min(len(text), most)]
}

// NoTLS is what speaks HTTP without TLS.
var NoTLS = Failure{Class: PlainHTTP, Text: "what answers does not speak TLS, but plain HTTP"}

func ofTLS(_ time.Time, err error) Failure {
	if record, is := errors.AsType[tls.RecordHeaderError](err); is {
		if string(record.RecordHeader[:]) == "HTTP/" {
			return NoTLS
		}
		return Failure{Class: TLS, Text: "what answers does not speak TLS"}
	}
	if alert, is := errors.AsType[tls.AlertError](err); is {
		return Failure{Class: TLS, Text: "the other end ends the TLS handshake: " + alert.Error()}
	}
	if invalid, is := errors.AsType[*tls.CertificateVerificationError](err); is {
		return Failure{Class: TLS, Text: "the certificate is not accepted: " + short(invalid.Err.Error())}
	}
	return Failure{}
}

func ofName(_ time.Time, err error) Failure {
	name, is := errors.AsType[*net.DNSError](err)
	switch {
	case !is:
		return Failure{}
	case name.IsNotFound:
		return Failure{Class: NoSuchHost, Text: "no such host " + name.Name}
	case name.IsTimeout:
		return Failure{Class: NameServer, Text: "no name server answers for " + name.Name}
	default:
		return Failure{Class: NameServer, Text: "the name server has no answer for " + name.Name + ": " + short(name.Err)}
	}
}

func ofSystem(_ time.Time, err error) Failure {
	errno, is := errors.AsType[syscall.Errno](err)
	if !is {
		return Failure{}
	}
	f := Failure{Text: errno.Error()}
	switch errno {
	case syscall.ECONNREFUSED:
		f.Class = Refused
	case syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.EADDRNOTAVAIL, syscall.EHOSTDOWN, syscall.ENETDOWN:
		f.Class = NoRoute
	case syscall.EPERM, syscall.EACCES:
		f = Failure{Class: Filtered, Text: "this machine's firewall does not let it out"}
	case syscall.ETIMEDOUT:
		f.Class = Timeout
	case syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED:
		f = closed
	default:
		return Failure{}
	}
	return f
}

// closed is a connection that was closed.
var closed = Failure{Class: Closed, Text: "the connection was closed"}

func ofConnection(_ time.Time, err error) Failure {
	if network, is := errors.AsType[net.Error](err); errors.Is(err, context.DeadlineExceeded) || is && network.Timeout() {
		return Failure{Class: Timeout, Text: "no answer in time"}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		return closed
	}
	return Failure{}
}
