package mesh

import (
	"bytes"
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
	"testing"
)

// TestSubnet has results that were computed by hand:
//
//	$ printf %s 'yui150Ogam0pdQoNZS2lZR-ihi8EWxNM17bZPktJKKE=' | sha256sum
//
// prints the hash. The subnet is its last 16 bytes, with the first byte fd, the eighth 02,
// and zeros from the ninth on.
func TestSubnet(t *testing.T) {
	for id, want := range map[string]string{
		"yui150Ogam0pdQoNZS2lZR-ihi8EWxNM17bZPktJKKE=": "fde2:b5ed:5b40:7602::/64",
		"EUsCYz+oHNuBppS51P9aKSIOyYvIPmbZK944PWgiyMQ=": "fdff:b8e0:c564:bd02::/64",
	} {
		if got := Subnet(id); got.String() != want {
			t.Errorf("Subnet(%q) = %s, want %s", id, got, want)
		}
	}
}

// TestAddress has the address of the KubeSpan guide, fd83:b1f7:fcb5:2802:8c13:
// 71ff:feaf:7c94. Its host part is that of the MAC 8e:13:71:af:7c:94 (RFC 4291, appendix A):
// ff:fe in the middle, and the second lowest bit of the first byte inverted, 8e to 8c.
func TestAddress(t *testing.T) {
	subnet := netip.MustParsePrefix("fd83:b1f7:fcb5:2802::/64")
	got, err := Address(subnet, net.HardwareAddr{0x8e, 0x13, 0x71, 0xaf, 0x7c, 0x94})
	if want := netip.MustParsePrefix("fd83:b1f7:fcb5:2802:8c13:71ff:feaf:7c94/128"); err != nil || got != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	if _, err := Address(subnet, net.HardwareAddr{1, 2, 3, 4, 5, 6, 7, 8}); err == nil {
		t.Error("an EUI-64 was taken for a MAC")
	}
}

// TestNodeID has results that were computed with Python:
//
//	n = int.from_bytes(bytes(range(1, 33)), "big"); digits = ""
//	while n: n, r = divmod(n, 62); digits = "0-9A-Za-z"[r] + digits
func TestNodeID(t *testing.T) {
	counting := make([]byte, 32)
	for i := range counting {
		counting[i] = byte(i + 1)
	}
	for want, random := range map[string][]byte{
		"Eoh211G4c8wtVWM00my5rsNSFlKgaWqQ4mb8gdEqno":  counting,
		"yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp1": bytes.Repeat([]byte{0xff}, 32),
	} {
		if got, err := NewNodeID(bytes.NewReader(random)); err != nil || got != want {
			t.Errorf("NewNodeID(%x) = %q, %v, want %q", random, got, err, want)
		}
	}
	if _, err := NewNodeID(bytes.NewReader(counting[:31])); err == nil {
		t.Error("31 random bytes were enough")
	}
}

// TestKeyPair has the keys of Alice and Bob in RFC 7748, section 6.1.
func TestKeyPair(t *testing.T) {
	for private, public := range map[string]string{
		"77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a": "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
		"5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb": "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
	} {
		if got := SecretKey(mustHex(t, private)).Public(); got != Key(mustHex(t, public)) {
			t.Errorf("the public half of %s is %x, want %s", private, got[:], public)
		}
	}
}

func mustHex(t *testing.T, text string) [32]byte {
	t.Helper()
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != 32 {
		t.Fatalf("%q: %v", text, err)
	}
	return [32]byte(raw)
}

func TestNewPrivateKeyIsClamped(t *testing.T) {
	k, err := NewPrivateKey(bytes.NewReader(bytes.Repeat([]byte{0xff}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	raw := k.Bytes()
	if raw[0] != 0xf8 || raw[31] != 0x7f {
		t.Errorf("first byte %#x, last %#x", raw[0], raw[31])
	}
}

func TestNewMACIsLocalAndUnicast(t *testing.T) {
	for _, first := range []byte{0x00, 0x01, 0xfd, 0xff} {
		mac, err := NewMAC(bytes.NewReader([]byte{first, 1, 2, 3, 4, 5}))
		if err != nil || mac[0]&0x03 != 0x02 {
			t.Errorf("from %#x: %s, %v", first, mac, err)
		}
	}
}

func TestNewIdentity(t *testing.T) {
	private := SecretKey(mustHex(t, strings.Repeat("11", 32)))
	id, err := NewIdentity("node", private, "cluster", net.HardwareAddr{2, 0, 0, 0, 0, 1})
	if err != nil {
		t.Fatal(err)
	}
	if !id.Subnet.Contains(id.Address.Addr()) || id.Address.Bits() != 128 || id.LinkAddress().Bits() != 64 ||
		id.LinkAddress().Addr() != id.Address.Addr() || id.PublicKey != private.Public() {
		t.Errorf("got %+v", id)
	}
	other, err := NewIdentity("node", private, "cluster", net.HardwareAddr{2, 0, 0, 0, 0, 2})
	if err != nil || other.Address == id.Address || other.PublicKey != id.PublicKey {
		t.Errorf("another MAC must change the address and not the key: %+v, %v", other, err)
	}
}

// TestPeerAddress has addresses of peers without an agent: in the subnet, each its own, and none that a
// machine can have.
func TestPeerAddress(t *testing.T) {
	subnet := Subnet("a cluster")
	seen := map[netip.Prefix]bool{}
	for n := range 1000 {
		a := PeerAddress(subnet, Key{byte(n), byte(n >> 8)})
		raw := a.Addr().As16()
		if a.Bits() != 128 || !subnet.Contains(a.Addr()) || seen[a] || raw[11] == 0xff && raw[12] == 0xfe {
			t.Fatalf("the address of key %d is %s", n, a)
		}
		seen[a] = true
	}
}
