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

// Identity is who a machine is in its cluster.
type Identity struct {
	// NodeID names the machine's affiliate in discovery.
	NodeID string
	// PrivateKey never leaves the machine.
	PrivateKey PrivateKey
	PublicKey  Key
	// Subnet is the cluster's /64, Address the machine's /128 inside of it.
	Subnet  netip.Prefix
	Address netip.Prefix
}

// NewIdentity derives a machine's identity. The key and the node ID stay for
// the machine's life; the address follows from the cluster ID and the MAC.
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

// LinkAddress is the machine's address as it is put on the link: with the
// prefix length of the subnet, so that the /64 is reached over the link.
func (id Identity) LinkAddress() netip.Prefix {
	return netip.PrefixFrom(id.Address.Addr(), id.Subnet.Bits())
}

// Bits 0 to 7 and 56 to 63 of a KubeSpan subnet: fd00::/8 is the locally
// assigned half of RFC 4193's unique local addresses, and 0x02 is the purpose
// that Talos gives to KubeSpan among its own ULA prefixes.
const (
	ulaByte     = 0xfd
	purposeByte = 0x02
)

// Subnet is the cluster's /64: the last 16 bytes of the SHA-256 of the cluster
// ID as configured, with the ULA and the purpose byte put in.
func Subnet(clusterID string) netip.Prefix {
	sum := sha256.Sum256([]byte(clusterID))
	raw := [16]byte(sum[16:])
	raw[0], raw[7] = ulaByte, purposeByte
	return netip.PrefixFrom(netip.AddrFrom16(raw), 64).Masked()
}

// Address is the EUI-64 address of a 48-bit MAC inside subnet (RFC 4291,
// appendix A), as a /128.
func Address(subnet netip.Prefix, mac net.HardwareAddr) (netip.Prefix, error) {
	if len(mac) != 6 {
		return netip.Prefix{}, fmt.Errorf("derive an address: a MAC has 6 bytes, %q has %d", mac, len(mac))
	}
	raw := subnet.Addr().As16()
	copy(raw[8:], []byte{mac[0] ^ 0x02, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]})
	return netip.PrefixFrom(netip.AddrFrom16(raw), 128), nil
}

// NewMAC makes a MAC for a machine that has no physical network interface:
// unicast and locally administered (IEEE 802, clause 8.4).
func NewMAC(random io.Reader) (net.HardwareAddr, error) {
	mac := make(net.HardwareAddr, 6)
	if _, err := io.ReadFull(random, mac); err != nil {
		return nil, fmt.Errorf("read randomness for a MAC: %w", err)
	}
	mac[0] = mac[0]&^0x01 | 0x02
	return mac, nil
}

// nodeIDBytes is how many random bytes a node ID stands for.
const nodeIDBytes = 32

// NewNodeID makes a node ID: 32 random bytes, as one big-endian integer in
// base 62 with the digits 0-9, A-Z, a-z.
func NewNodeID(random io.Reader) (string, error) {
	var raw [nodeIDBytes]byte
	if _, err := io.ReadFull(random, raw[:]); err != nil {
		return "", fmt.Errorf("read randomness for a node ID: %w", err)
	}
	// math/big puts the small letters before the capitals.
	return strings.Map(swapCase, new(big.Int).SetBytes(raw[:]).Text(62)), nil
}

func swapCase(r rune) rune {
	if unicode.IsUpper(r) {
		return unicode.ToLower(r)
	}
	return unicode.ToUpper(r)
}
