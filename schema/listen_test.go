package schema

import "testing"

func TestListenAddress(t *testing.T) {
	for _, text := range []string{"", "127.0.0.1:9851", "[::1]:80", "[fd00::1]:9851", "10.99.0.1:65535", "mesh:1"} {
		var l ListenAddress
		if err := l.UnmarshalText([]byte(text)); err != nil || l.String() != text || l.IsZero() != (text == "") {
			t.Errorf("%q becomes %q, %v", text, l, err)
		}
	}
	for text, want := range map[string]string{
		"127.0.0.1":              "is not an address with a port",
		"localhost:9851":         "is not an address with a port",
		":9851":                  "is not an address with a port",
		"127.0.0.1:0":            "has port 0",
		"mesh:0":                 "has a port that is not from 1 to 65535",
		"mesh:":                  "has a port that is not from 1 to 65535",
		"mesh:65536":             "has a port that is not from 1 to 65535",
		"[fe80::1%eth0]:9851":    "has a zone, which is valid on one link only",
		"[::]:9851":              "stands for all addresses: what is outside of the mesh is not served",
		"[::ffff:10.0.0.1]:9851": "is IPv4 written as IPv6",
		"224.0.0.1:9851":         "is not an address of a machine",
		"[fe80::1]:9851":         "is not an address of a machine",
		"255.255.255.255:9851":   "is not an address of a machine",
	} {
		var l ListenAddress
		if err := l.UnmarshalText([]byte(text)); err == nil || err.Error() != want || !l.IsZero() {
			t.Errorf("%q becomes %q, %v; want the error %q", text, l, err, want)
		}
	}
}
