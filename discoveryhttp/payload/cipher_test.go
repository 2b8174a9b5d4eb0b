package payload

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"

	"github.com/spanmesh/span/discoveryhttp/clientpb"
	"github.com/spanmesh/span/reconciler/mesh"
)

func newCipher(tb testing.TB, secret byte) *Cipher {
	tb.Helper()
	var key [32]byte
	for i := range key {
		key[i] = secret + byte(i)
	}
	c, err := NewCipher(key)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func sample() mesh.Affiliate {
	return mesh.Affiliate{
		NodeID: "node", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1")},
		Hostname: "host", Nodename: "name", MachineType: "worker", OperatingSystem: "Linux",
		KubeSpan: mesh.KubeSpan{
			PublicKey: mesh.Key{1}, Address: netip.MustParseAddr("fd00::1"),
			AdditionalAddresses:       []netip.Prefix{netip.MustParsePrefix("10.244.0.0/24")},
			ExcludeAdvertisedNetworks: []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")},
			Relay:                     true, Relays: []mesh.Key{{2}, {3}},
		},
		ControlPlane: mesh.ControlPlane{APIServerPort: 6443},
	}
}

// stamp is that of sample.
var stamp = Stamp{Sequence: 1_790_000_000_000_000, Instance: Instance{1, 2, 3}}

var compare = cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}, netip.AddrPort{}), cmpopts.EquateEmpty()}

func TestAffiliateRoundTrip(t *testing.T) {
	c := newCipher(t, 0)
	for name, want := range map[string]struct {
		affiliate mesh.Affiliate
		stamp     Stamp
	}{
		"all fields": {sample(), stamp},
		"no stamp":   {sample(), Stamp{}},
		"no mesh":    {mesh.Affiliate{NodeID: "node"}, Stamp{Sequence: 1, Left: true}},
	} {
		t.Run(name, func(t *testing.T) {
			sealed, err := c.SealAffiliate(want.affiliate, want.stamp)
			if err != nil {
				t.Fatal(err)
			}
			again, err := c.SealAffiliate(want.affiliate, want.stamp)
			if err != nil || bytes.Equal(sealed, again) {
				t.Errorf("two seals are alike, %v", err)
			}
			got, stamp, err := c.OpenAffiliate("node", sealed)
			if err != nil {
				t.Fatal(err)
			}
			if stamp != want.stamp {
				t.Errorf("stamp %+v, want %+v", stamp, want.stamp)
			}
			if diff := cmp.Diff(want.affiliate, got, compare); diff != "" {
				t.Errorf("affiliate (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOpenAffiliateRefuses(t *testing.T) {
	c := newCipher(t, 0)
	sealed, err := c.SealAffiliate(sample(), stamp)
	if err != nil {
		t.Fatal(err)
	}
	other, err := newCipher(t, 1).SealAffiliate(sample(), stamp)
	if err != nil {
		t.Fatal(err)
	}
	seal := func(m *clientpb.Affiliate) []byte {
		plain, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		nonce := make([]byte, c.aead.NonceSize())
		return c.aead.Seal(nonce, nonce, plain, nil)
	}
	for name, data := range map[string][]byte{
		"nothing":              nil,
		"a nonce alone":        sealed[:c.aead.NonceSize()],
		"a piece":              sealed[:len(sealed)-1],
		"another cluster's":    other,
		"a changed byte":       append(append([]byte{}, sealed[:20]...), append([]byte{sealed[20] ^ 1}, sealed[21:]...)...),
		"no protobuf":          c.aead.Seal(make([]byte, 12), make([]byte, 12), []byte{0xff}, nil),
		"another's node ID":    seal(&clientpb.Affiliate{NodeId: "other"}),
		"an address of 3":      seal(&clientpb.Affiliate{NodeId: "node", Addresses: [][]byte{{1, 2, 3}}}),
		"no public key":        seal(&clientpb.Affiliate{NodeId: "node", Kubespan: &clientpb.KubeSpan{Address: make([]byte, 16)}}),
		"a zero public key":    seal(&clientpb.Affiliate{NodeId: "node", Kubespan: &clientpb.KubeSpan{PublicKey: mesh.Key{}.String(), Address: make([]byte, 16)}}),
		"no mesh address":      seal(&clientpb.Affiliate{NodeId: "node", Kubespan: &clientpb.KubeSpan{PublicKey: mesh.Key{1}.String()}}),
		"a prefix of 33 bits":  seal(&clientpb.Affiliate{NodeId: "node", Kubespan: &clientpb.KubeSpan{PublicKey: mesh.Key{1}.String(), Address: make([]byte, 16), AdditionalAddresses: []*clientpb.IPPrefix{{Ip: make([]byte, 4), Bits: 33}}}}),
		"a short instance":     seal(&clientpb.Affiliate{NodeId: "node", Instance: []byte{1, 2, 3}}),
		"a long instance":      seal(&clientpb.Affiliate{NodeId: "node", Instance: make([]byte, 9)}),
		"a last sequence":      seal(&clientpb.Affiliate{NodeId: "node", Sequence: math.MaxUint64}),
		"an escape sequence":   seal(&clientpb.Affiliate{NodeId: "node", Hostname: "\x1b]0;x\a"}),
		"a line break":         seal(&clientpb.Affiliate{NodeId: "node", Nodename: "one\ntwo"}),
		"reversed text":        seal(&clientpb.Affiliate{NodeId: "node", OperatingSystem: "\u202eGNU"}),
		"a C1 control":         seal(&clientpb.Affiliate{NodeId: "node", MachineType: "\u009b2J"}),
		"a long name":          seal(&clientpb.Affiliate{NodeId: "node", Hostname: strings.Repeat("a", 257)}),
		"64 KiB":               seal(&clientpb.Affiliate{NodeId: "node", Hostname: strings.Repeat("a", maxSealed)}),
		"a prefix of no bytes": seal(&clientpb.Affiliate{NodeId: "node", Kubespan: &clientpb.KubeSpan{PublicKey: mesh.Key{1}.String(), Address: make([]byte, 16), ExcludeAdvertisedAddresses: []*clientpb.IPPrefix{nil}}}),
	} {
		if a, _, err := c.OpenAffiliate("node", data); err == nil {
			t.Errorf("%s was taken: %+v", name, a)
		}
	}
}

func TestOwnNamesAreChecked(t *testing.T) {
	a := sample()
	a.Hostname = "a\nb"
	if _, err := newCipher(t, 0).SealAffiliate(a, stamp); err == nil || err.Error() != `this machine has the host name "a\nb", which has characters that cannot be printed` {
		t.Errorf("got %v", err)
	}
}

// TestEndpointKnownAnswers has answers of OpenSSL, for a key of the bytes 0 to 31:
// the plaintext is a length byte, the protobuf fields 1 (IP) and 2 (port), zeros.
//
//	$ echo 0a0a04ac14000310ec94030000000000 | xxd -r -p |
//	    openssl enc -aes-256-ecb -nopad -K 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f | xxd -p
func TestEndpointKnownAnswers(t *testing.T) {
	c := newCipher(t, 0)
	for text, want := range map[string]string{
		"172.20.0.3:51820":    "e9ffeb8411a3d3cc204e2a85fe1622af",
		"[2001:db8::1]:51820": "e2702633ca89239d5ee036a316dde237d604c19a74d2f45c1e624c2d38c4cca0",
	} {
		endpoint := netip.MustParseAddrPort(text)
		sealed, err := c.SealEndpoint(endpoint)
		if err != nil || hex.EncodeToString(sealed) != want {
			t.Errorf("%s is sealed as %x, %v, want %s", text, sealed, err, want)
		}
		if got, err := c.OpenEndpoint(sealed); err != nil || got != endpoint {
			t.Errorf("%s is opened as %s, %v", text, got, err)
		}
	}
}

func TestOpenEndpointRefuses(t *testing.T) {
	c := newCipher(t, 0)
	// encrypt pads like SealEndpoint, with whatever length byte.
	encrypt := func(length byte, plain ...byte) []byte {
		block := append([]byte{length}, plain...)
		block = append(block, make([]byte, (16-len(block)%16)%16)...)
		for i := 0; i < len(block); i += 16 {
			c.block.Encrypt(block[i:], block[i:])
		}
		return block
	}
	for name, sealed := range map[string][]byte{
		"nothing":              nil,
		"15 bytes":             make([]byte, 15),
		"too many blocks":      make([]byte, 80),
		"noise":                bytes.Repeat([]byte{7}, 16),
		"an empty endpoint":    encrypt(0),
		"a length past itself": encrypt(16, 1, 2, 3),
		"no zeros behind":      encrypt(0, 1),
		"port 0":               encrypt(6, 0x0a, 4, 1, 2, 3, 4),
		"port 65536":           encrypt(10, 0x0a, 4, 1, 2, 3, 4, 0x10, 0x80, 0x80, 0x04),
		"an address of 3":      encrypt(7, 0x0a, 3, 1, 2, 3, 0x10, 9),
	} {
		if endpoint, err := c.OpenEndpoint(sealed); err == nil {
			t.Errorf("%s was taken: %s", name, endpoint)
		} else if !errors.Is(err, ErrSealed) && len(sealed)%16 == 0 && len(sealed) == 16 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzOpenAffiliate seals arbitrary plaintext, since only a member of the cluster
// gets past the seal, and a member can be malicious.
func FuzzOpenAffiliate(f *testing.F) {
	c := newCipher(f, 0)
	for _, s := range []Stamp{{}, stamp, {Sequence: maxSequence, Left: true}} {
		message := encodeAffiliate(sample())
		s.encode(message)
		plain, err := proto.Marshal(message)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(plain)
	}
	f.Fuzz(func(t *testing.T, plain []byte) {
		nonce := make([]byte, c.aead.NonceSize())
		a, stamp, err := c.OpenAffiliate("node", c.aead.Seal(nonce, nonce, plain, nil))
		if err != nil {
			return
		}
		if next := stamp.Sequence.Next(time.Time{}); next <= stamp.Sequence || next.Time().Before(stamp.Sequence.Time()) {
			t.Errorf("the sequence after %d is %d", stamp.Sequence, next)
		}
		sealed, err := c.SealAffiliate(a, stamp)
		if err != nil {
			// Text that is no UTF-8 does not get past Unmarshal.
			t.Fatalf("what was opened cannot be sealed: %v", err)
		}
		again, sameStamp, err := c.OpenAffiliate("node", sealed)
		if err != nil {
			t.Fatalf("what was sealed cannot be opened: %v", err)
		}
		if sameStamp != stamp {
			t.Errorf("the stamp %+v was changed to %+v", stamp, sameStamp)
		}
		if diff := cmp.Diff(a, again, compare); diff != "" {
			t.Errorf("changed on the way:\n%s", diff)
		}
	})
}

// FuzzOpenEndpoint takes ciphertext from anyone.
func FuzzOpenEndpoint(f *testing.F) {
	c := newCipher(f, 0)
	for _, text := range []string{"172.20.0.3:51820", "[2001:db8::1]:51820"} {
		sealed, err := c.SealEndpoint(netip.MustParseAddrPort(text))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(sealed)
	}
	f.Fuzz(func(t *testing.T, sealed []byte) {
		endpoint, err := c.OpenEndpoint(sealed)
		if err == nil && (!endpoint.IsValid() || endpoint.Port() == 0) {
			t.Errorf("opened %v", endpoint)
		}
		// And whatever a member would seal.
		if padded := append([]byte{}, sealed...); len(padded) > 0 && len(padded)%16 == 0 {
			for i := 0; i < len(padded); i += 16 {
				c.block.Encrypt(padded[i:], padded[i:])
			}
			_, _ = c.OpenEndpoint(padded)
		}
	})
}

// TestGoldenAffiliate opens an affiliate as a Talos node of KubeSpan publishes it,
// which e2e/interop sealed, an implementation of its own (see its golden_test.go).
func TestGoldenAffiliate(t *testing.T) {
	text, err := os.ReadFile("testdata/affiliate.hex")
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	const id = "2VfX3nu67ZtZPl57IdJrU87BMjVWkSBJiL9ulP9TCnF"
	key, err := mesh.ParseKey("06D9QQOydzKrOL7oeLiqHy9OWE8KtmJzZII2A5/FLFI=")
	if err != nil {
		t.Fatal(err)
	}
	want := mesh.Affiliate{
		NodeID: id, Hostname: "talos-default-worker-1", Nodename: "talos-default-worker-1", MachineType: "controlplane", OperatingSystem: "Talos (v1.11.0)",
		Addresses:    []netip.Addr{netip.MustParseAddr("172.20.0.5")},
		KubeSpan:     mesh.KubeSpan{PublicKey: key, Address: netip.MustParseAddr("fd83:b1f7:fcb5:2802:8c13:71ff:feaf:7c94")},
		ControlPlane: mesh.ControlPlane{APIServerPort: 6443},
	}
	got, stamp, err := newCipher(t, 0).OpenAffiliate(id, sealed)
	if err != nil {
		t.Fatal(err)
	}
	if stamp != (Stamp{}) {
		t.Errorf("a Talos node has the stamp %+v", stamp)
	}
	if diff := cmp.Diff(want, got, compare); diff != "" {
		t.Errorf("affiliate (-want +got):\n%s", diff)
	}
}
