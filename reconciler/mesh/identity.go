package mesh

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"unicode"
)

// Identity is the identity of a machine in its cluster.
type Identity struct {
	// NodeID is the ID of the machine's affiliate in discovery.
	NodeID string
	// PrivateKey never leaves the machine.
	PrivateKey PrivateKey
	// PublicKey is the public half of PrivateKey.
	PublicKey Key
	// Subnet is the cluster's /64.
	Subnet netip.Prefix
	// Address is the machine's /128 inside Subnet.
	Address netip.Prefix
}

// NewIdentity derives a machine's identity. Node ID and key are the machine's own; the
// address is derived from the cluster ID and the MAC.
func NewIdentity(nodeID string, private PrivateKey, clusterID string, mac net.HardwareAddr) (Identity, error) {
	subnet := Subnet(clusterID)
	address, err := Address(subnet, mac)
	if err != nil {
		return Identity{}, err
	}
	return Identity{
		NodeID:     nodeID,
		PrivateKey: private,
		PublicKey:  private.Public(),
		Subnet:     subnet,
		Address:    address,
	}, nil
}

// LinkAddress returns the machine's address with the prefix length of the subnet. On the
// link, it makes the kernel route the whole /64 there.
func (id Identity) LinkAddress() netip.Prefix {
	return netip.PrefixFrom(id.Address.Addr(), id.Subnet.Bits())
}

const (
	// ulaByte is the first byte of a KubeSpan subnet: fd00::/8 has the locally assigned
	// unique local addresses (RFC 4193, section 3.1).
	ulaByte = 0xfd
	// purposeByte is the eighth byte: Talos assigns 0x02 to KubeSpan among its subnets.
	purposeByte = 0x02
)

// Subnet returns the cluster's /64: the last 16 bytes of the SHA-256 of the cluster ID as
// configured, with ulaByte and purposeByte in their places.
func Subnet(clusterID string) netip.Prefix {
	sum := sha256.Sum256([]byte(clusterID))
	raw := [16]byte(sum[16:])
	raw[0], raw[7] = ulaByte, purposeByte
	return netip.PrefixFrom(netip.AddrFrom16(raw), 64).Masked()
}

// Address returns the EUI-64 address of a 48-bit MAC in subnet (RFC 4291, appendix A), as
// a /128.
func Address(subnet netip.Prefix, mac net.HardwareAddr) (netip.Prefix, error) {
	if len(mac) != 6 {
		return netip.Prefix{}, fmt.Errorf("derive an address from MAC %q: it has %d bytes, not 6", mac, len(mac))
	}
	raw := subnet.Addr().As16()
	copy(raw[8:], []byte{mac[0] ^ 0x02, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]})
	return netip.PrefixFrom(netip.AddrFrom16(raw), 128), nil
}

// PeerAddress returns the address in subnet of a peer without an agent, as a /128: its interface
// identifier is the beginning of the SHA-256 of its key. It is no EUI-64, so that no machine has it.
func PeerAddress(subnet netip.Prefix, key Key) netip.Prefix {
	raw, sum := subnet.Addr().As16(), sha256.Sum256(key[:])
	copy(raw[8:], sum[:8])
	if raw[11] == 0xff && raw[12] == 0xfe {
		raw[12] = 0
	}
	return netip.PrefixFrom(netip.AddrFrom16(raw), 128)
}

// NewMAC returns a random MAC for a machine without a physical network interface. It is
// unicast and locally administered (IEEE 802, clause 8.4).
func NewMAC(random io.Reader) (net.HardwareAddr, error) {
	mac := make(net.HardwareAddr, 6)
	if _, err := io.ReadFull(random, mac); err != nil {
		return nil, fmt.Errorf("read randomness for a MAC: %w", err)
	}
	mac[0] = mac[0]&^0x01 | 0x02
	return mac, nil
}

// nodeIDBytes is the number of random bytes in a node ID.
const nodeIDBytes = 32

// NewNodeID returns a random node ID: nodeIDBytes bytes as one big-endian integer in base
// 62 with the digits 0-9, A-Z, a-z, as on Talos.
func NewNodeID(random io.Reader) (string, error) {
	var raw [nodeIDBytes]byte
	if _, err := io.ReadFull(random, raw[:]); err != nil {
		return "", fmt.Errorf("read randomness for a node ID: %w", err)
	}
	// math/big uses lower case letters before upper case ones.
	return strings.Map(swapCase, new(big.Int).SetBytes(raw[:]).Text(62)), nil
}

func swapCase(r rune) rune {
	if unicode.IsUpper(r) {
		return unicode.ToLower(r)
	}
	return unicode.ToUpper(r)
}
