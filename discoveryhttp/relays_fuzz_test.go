package discoveryhttp

import (
	"net/url"
	"testing"

	"github.com/spanmesh/span/discoveryhttp/relaypb"
)

// FuzzRelayOf takes anything that a service says of its relay: what is used has a host, a port and a key,
// and streams go to the service itself.
func FuzzRelayOf(f *testing.F) {
	f.Add("relay.example.com:51821", "/relay", make([]byte, 32))
	f.Add(":51821", "//evil.example.com/relay", []byte{1})
	f.Add("[::1]:0", "https://evil.example.com", make([]byte, 33))
	service := &url.URL{Scheme: "https", Host: "disc.example.com"}
	f.Fuzz(func(t *testing.T, address, path string, key []byte) {
		relay, host, port, err := relayOf(service, &relaypb.DescribeResponse{Address: address, StreamPath: path, PublicKey: key})
		if err != nil {
			return
		}
		if host == "" || port == 0 || len(key) != len(relay.Key) {
			t.Errorf("%q is %q and %d, with a key of %d bytes", address, host, port, len(key))
		}
		if relay.URL == "" {
			return
		}
		if at, err := url.Parse(relay.URL); err != nil || at.Host != service.Host || at.Scheme != service.Scheme {
			t.Errorf("streams go to %q: %v", relay.URL, err)
		}
	})
}
