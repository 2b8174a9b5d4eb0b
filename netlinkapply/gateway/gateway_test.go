package gateway

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"net/url"
	"testing"

	"github.com/spanmesh/span/reconciler/portmap"
)

var (
	testGateway = netip.MustParseAddr("192.168.1.1")
	testCall    = portmap.Call{Kind: portmap.Map, Protocol: portmap.PCP, Gateway: testGateway, Own: netip.MustParseAddr("192.168.1.5"), Port: 51820,
		External: netip.MustParseAddrPort("203.0.113.9:51820"), Nonce: portmap.Nonce{1, 2, 3}}
)

// pcpAnswer returns what a gateway answers to testCall.
func pcpAnswer(code byte) []byte {
	m := pcpRequest(&testCall)
	m[1], m[3] = pcpResponse|pcpMap, code
	binary.BigEndian.PutUint32(m[4:], 3600)
	binary.BigEndian.PutUint32(m[8:], 77)
	clear(m[12:24])
	return m
}

func TestParsePCP(t *testing.T) {
	other := pcpAnswer(0)
	other[24]++
	for _, c := range []struct {
		name       string
		message    []byte
		done, fail bool
	}{
		{"success", pcpAnswer(0), true, false},
		{"refused", pcpAnswer(2), true, true},
		{"another nonce", other, false, false},
		{"short", pcpAnswer(0)[:56], false, false},
		{"the request", pcpRequest(&testCall), false, false},
		{"NAT-PMP only", []byte{0, 0x81, 0, 1, 0, 0, 0, 0}, true, true},
		{"nothing", nil, false, false},
	} {
		a, done, err := parsePCP(&testCall, c.message)
		if done != c.done || c.fail != (err != nil && done) {
			t.Errorf("%s: done %v, error %v", c.name, done, err)
		}
		if done && err == nil && a.External != testCall.External {
			t.Errorf("%s: the port is mapped to %v", c.name, a.External)
		}
	}
}

func TestParseNATPMP(t *testing.T) {
	a, done, err := parseNATPMPAddress([]byte{0, 0x80, 0, 0, 0, 0, 0, 9, 203, 0, 113, 9})
	if !done || err != nil || a.External.Addr() != testCall.External.Addr() {
		t.Errorf("the address is %v, done %v, error %v", a.External, done, err)
	}
	m := []byte{0, 0x81, 0, 0, 0, 0, 0, 9, 0xca, 0x6c, 0x9c, 0x40, 0, 0, 14, 16}
	if a, done, err = parseNATPMPMap(&testCall, m); !done || err != nil || a.External.Port() != 40000 {
		t.Errorf("the port is %v, done %v, error %v", a.External, done, err)
	}
	if _, done, err = parseNATPMPMap(&testCall, []byte{0, 0x81, 0, 2, 0, 0, 0, 9}); !done || err == nil {
		t.Error("a refusal is none")
	}
}

func TestSearchAnswers(t *testing.T) {
	for location, want := range map[string]bool{
		"http://192.168.1.1:5000/d.xml": true, "http://192.168.1.2/d.xml": false, "https://192.168.1.1/": false,
		"http://router/d.xml": false, "http://u@192.168.1.1/": false, "": false,
	} {
		m := "HTTP/1.1 200 OK\r\nST: " + igdDevice + "1\r\nLOCATION: " + location + "\r\n\r\n"
		if _, ok := parseSearchAnswer(testGateway, []byte(m)); ok != want {
			t.Errorf("%q is taken: %v", location, ok)
		}
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add(pcpAnswer(0))
	f.Add([]byte{0, 0x80, 0, 0, 0, 0, 0, 9, 203, 0, 113, 9})
	f.Add([]byte("HTTP/1.1 200 OK\r\nST: " + igdDevice + "1\r\nLOCATION: http://192.168.1.1/d\r\n\r\n"))
	f.Fuzz(func(t *testing.T, m []byte) {
		if _, done, err := parsePCP(&testCall, m); done && err == nil && portmap.Nonce(m[24:36]) != testCall.Nonce {
			t.Error("an answer to another request is taken")
		}
		_, _, _ = parseNATPMPAddress(m)
		_, _, _ = parseNATPMPMap(&testCall, m)
		if location, ok := parseSearchAnswer(testGateway, m); ok && location.Hostname() != testGateway.String() {
			t.Errorf("%v is taken", location)
		}
	})
}

func FuzzDescription(f *testing.F) {
	f.Add([]byte(`<root xmlns="urn:schemas-upnp-org:device-1-0"><device><friendlyName>r</friendlyName></device></root>`))
	location := &url.URL{Scheme: "http", Host: "192.168.1.1"}
	f.Fuzz(func(_ *testing.T, text []byte) { _, _ = parseDescription(bytes.NewReader(text), location) })
}
