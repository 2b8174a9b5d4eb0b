package check

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/spanmesh/span/schema"
)

// bit is the check for numbers with a single bit set.
const bit = "bit"

// Number checks a number. It returns nil if name is not a check of numbers.
func Number(name string, n int64) error {
	if name == bit && n&(n-1) != 0 {
		return errors.New("is not a single bit")
	}
	return nil
}

// Text checks a string. It returns nil if name is not a check of strings.
func Text(name, text string) error {
	if check := texts[name]; check != nil {
		return check(text)
	}
	return nil
}

// texts has the checks of strings by their names.
var texts = map[string]func(string) error{
	"key":       key,
	"id":        clusterID,
	"cidr":      cidr,
	"network":   network,
	"filter":    filter,
	"interface": linkFilter,
	"address":   address,
	"endpoint":  endpoint,
	"listen":    listen,
	"server":    stunServer,
	"url":       serviceURL,
	"pem":       certificates,
	"path":      path,
	"node":      nodeName,
	"domain":    domain,
}

func key(text string) error {
	_, err := schema.ParseKey(text)
	return err
}

// maxID is the length of the longest ID of a cluster, in bytes. It is that of the services.
const maxID = 256

// clusterID accepts what a discovery service does. Its errors do not quote the ID.
func clusterID(text string) error {
	switch {
	case text == "" || len(text) > maxID:
		return fmt.Errorf("has %d bytes", len(text))
	case !utf8.ValidString(text):
		return errors.New("is not valid UTF-8")
	case strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }):
		return errors.New("has a control character")
	}
	return nil
}

var errNotCIDR = errors.New("is not a network in CIDR notation")

func cidr(text string) error {
	if _, err := netip.ParsePrefix(text); err != nil {
		return errNotCIDR
	}
	return nil
}

// network accepts a network that a machine may have.
func network(text string) error {
	parsed, err := netip.ParsePrefix(text)
	if err != nil {
		return errNotCIDR
	}
	if plain := schema.Unmap(parsed); plain != parsed {
		return fmt.Errorf("is IPv4 written as IPv6: it is %s", plain.Masked())
	}
	if meaning := schema.SpecialMeaning(parsed.Masked()); meaning != "" {
		return errors.New(meaning + ", which no machine can have")
	}
	return nil
}

func filter(text string) error {
	if new(schema.Filter).UnmarshalText([]byte(text)) != nil {
		return errors.New("is neither a network in CIDR notation nor an address")
	}
	return nil
}

func linkFilter(text string) error {
	if new(schema.LinkFilter).UnmarshalText([]byte(text)) != nil {
		return errors.New("is not the name of a link, or a pattern of names")
	}
	return nil
}

func address(text string) error {
	prefix, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return errors.New("is not an address with a prefix length")
	case prefix.Addr().Is4In6():
		return errors.New("is IPv4 written as IPv6")
	case !prefix.Addr().IsGlobalUnicast():
		return errors.New("is not a global unicast address")
	case prefix.Addr() == prefix.Masked().Addr() && !prefix.IsSingleIP():
		return errors.New("is a network, not an address in one")
	}
	return nil
}

func endpoint(text string) error {
	parsed, err := netip.ParseAddrPort(text)
	switch {
	case err != nil:
		return errors.New("is not an address with a port")
	case parsed.Port() == 0:
		return errors.New("has port 0")
	case parsed.Addr().Zone() != "":
		return errors.New("has a zone, which is valid on one machine only")
	}
	return nil
}

// listen accepts an empty text, which stands for nowhere.
func listen(text string) error {
	return new(schema.ListenAddress).UnmarshalText([]byte(text))
}

func stunServer(text string) error {
	return new(schema.STUNServer).UnmarshalText([]byte(text))
}

// path accepts an empty path, which stands for a default.
func path(text string) error {
	if text != "" && !filepath.IsAbs(text) {
		return errors.New("is not an absolute path")
	}
	return nil
}

// nodeNames matches DNS subdomains (RFC 1123), which are the names of Kubernetes objects.
var nodeNames = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)
})

// maxNodeName is the length of the longest DNS subdomain, in bytes (RFC 1123).
const maxNodeName = 253

// nodeName accepts an empty name, which stands for a default.
func nodeName(text string) error {
	if text != "" && (len(text) > maxNodeName || !nodeNames().MatchString(text)) {
		return errors.New("is not a valid name of a Node")
	}
	return nil
}

func certificates(text string) error {
	if !x509.NewCertPool().AppendCertsFromPEM([]byte(text)) {
		return errors.New("has no certificate in PEM")
	}
	return nil
}

func isPort(text string) bool {
	port, err := strconv.ParseUint(text, 10, 16)
	return err == nil && port > 0
}

func serviceURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case !strings.Contains(text, "://"):
		return errors.New("is not a URL: it has no scheme, such as https://")
	case err != nil || u.Hostname() == "" || u.Opaque != "":
		return errors.New("is not a URL with a host")
	case u.Port() != "" && !isPort(u.Port()):
		return errors.New("has a port that is not from 1 to 65535")
	case u.Scheme != "https" && u.Scheme != "http" && u.Scheme != "grpc":
		return errors.New("has a scheme other than https, grpc and http")
	case u.RawQuery != "" || u.Fragment != "":
		return errors.New("has a query or a fragment, which discovery services do not accept")
	}
	return nil
}

// maxDomain is the length of the longest domain of names: each label of a machine, at most 63 bytes, fits
// in front of it (RFC 1035, section 2.3.4).
const maxDomain = 253 - 1 - 63

// isDomain matches labels of host names in lower case (RFC 1123, section 2.1).
var isDomain = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`)

func domain(text string) error {
	switch last := text[strings.LastIndexByte(text, '.')+1:]; {
	case len(text) > maxDomain:
		return fmt.Errorf("has %d bytes", len(text))
	case !isDomain.MatchString(text):
		return errors.New("is not a domain in lower case")
	case last == "arpa", last == "local", last == "localhost":
		return fmt.Errorf("is in %q, which resolvers answer for themselves", last)
	}
	return nil
}
