package check

import (
	"strings"
	"testing"
)

// TestText has a value that each check accepts and one that it refuses.
func TestText(t *testing.T) {
	for _, c := range []struct{ check, good, bad string }{
		{"key", "dAmFcyNmDXusqnTSkPJrsgLJ38W8oEEXGZKM0x6Orpc=", "dAmFcyNmDXusqnTSkPJrsgLJ38W8oEEXGZKM0x6Orpc"},
		{"key", "yui150Ogam0pdQoNZS2lZR-ihi8EWxNM17bZPktJKKE=", "c2hvcnQ="},
		{"cidr", "10.0.0.0/8", "10.0.0.1"},
		{"network", "10.0.0.0/8", "10.0.0.1"},
		{"network", "0.0.0.0/0", "224.0.0.0/24"},
		{"network", "::/0", "::ffff:1.2.3.0/120"},
		{"network", "fd00::/8", "fe80::/64"},
		{"id", "my-cluster", ""},
		{"id", "yui150Ogam0pdQoNZS2lZR-ihi8EWxNM17bZPktJKKE=", "my\tcluster"},
		{"id", strings.Repeat("x", 256), strings.Repeat("x", 257)},
		{"id", "ü", "a\u202eb"},
		{"id", "0", "a\n"},
		{"filter", "!10.0.0.0/8", "!!10.0.0.0/8"},
		{"filter", "!192.168.1.5", "192.168.1"},
		{"filter", "2001:db8::5", "!"},
		{"interface", "!cilium_*", "!!eth0"},
		{"interface", "eth[0-3]", "eth["},
		{"address", "10.0.0.1/8", "10.0.0.0/8"},
		{"address", "fd00::1/64", "fe80::1/64"},
		{"endpoint", "[2001:db8::1]:51820", "192.0.2.1:0"},
		{"endpoint", "192.0.2.1:1", "[fe80::1%eth0]:1"},
		{"server", "stun.example.com:3478", "stun.example.com"},
		{"url", "http://127.0.0.1:3000/", "https://example.com/?a=b"},
		{"url", "https://example.com", "ftp://example.com"},
		{"url", "grpc://example.com:443", "example.com:443"},
		{"url", "grpc://[2001:db8::1]", "10.0.0.1:3000"},
		{"url", "https://discovery.example.com:65535/", "https://discovery.example.com:65536/"},
		{"url", "http://10.0.0.1:1", "http://10.0.0.1:0"},
		{"url", "HTTPS://example.com", "https://:443/"},
		{"path", "/etc/kubeconfig", "kubeconfig"},
		{"node", "web-1.example.com", "Web_1"},
		{"domain", "span.internal", "Span.internal"},
		{"domain", "mesh", ""},
		{"domain", "a-1.example.com", "a-.example.com"},
		{"domain", "1.example", "span.internal."},
		{"domain", "local.example.com", "mesh.local"},
		{"domain", strings.Repeat("abcdefghi.", 18) + "abcdefghi", strings.Repeat("abcdefghi.", 19)},
		{"", "anything", ""},
	} {
		if err := Text(c.check, c.good); err != nil {
			t.Errorf("%s refuses %q: %v", c.check, c.good, err)
		}
		if err := Text(c.check, c.bad); err == nil && c.check != "" {
			t.Errorf("%s accepts %q", c.check, c.bad)
		}
	}
}

func TestTextRefusesPEMWithoutACertificate(t *testing.T) {
	if Text("pem", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----") == nil {
		t.Error("accepted")
	}
}

func TestNumber(t *testing.T) {
	if err := Number("bit", 0x40); err != nil {
		t.Error(err)
	}
	if Number("bit", 0x60) == nil {
		t.Error("two bits are accepted")
	}
}
