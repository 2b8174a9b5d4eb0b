package simulated

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/load"
)

// Cluster is what the machines of a cluster share.
type Cluster struct {
	// Endpoint is the URL of the discovery server.
	Endpoint string
	config   *schema.Config
	secret   [32]byte
}

// The cluster's ID and secret.
const (
	clusterID     = "yui150Ogam0pdQoNZS2lZR-ihi8EWxNM17bZPktJKKE="
	clusterSecret = "dAmFcyNmDXusqnTSkPJrsgLJ38W8oEEXGZKM0x6Orpc="
)

// NewCluster returns the cluster whose discovery server has a URL.
func NewCluster(endpoint string) (*Cluster, error) {
	config, err := load.Config("fleet.cue", fmt.Appendf(nil, `
machine: network: kubespan: enabled: true
cluster: {id: %q, secret: %q, discovery: {enabled: true, registries: service: {endpoint: %q, protocol: "grpc"}}}
`, clusterID, clusterSecret, endpoint))
	if err != nil {
		return nil, err
	}
	secret, err := config.Cluster.Secret.Key()
	if err != nil {
		return nil, err
	}
	return &Cluster{Endpoint: endpoint, config: config, secret: secret}, nil
}

// idDigits makes node IDs as long as real ones, of 44 characters.
const idDigits = 40

func nodeID(number int) string { return fmt.Sprintf("node%0*d", idDigits, number) }

// numberOf is the inverse of nodeID; -1 for another ID.
func numberOf(id string) int {
	digits, is := strings.CutPrefix(id, "node")
	n, err := strconv.Atoi(digits)
	if !is || err != nil {
		return -1
	}
	return n
}

// privateKey returns the WireGuard key of a machine, which has its number in it.
func privateKey(number int) mesh.PrivateKey {
	var raw [mesh.KeySize]byte
	raw[0] = 8
	binary.BigEndian.PutUint32(raw[1:], uint32(number)+1)
	return mesh.SecretKey(raw)
}

func (c *Cluster) identity(number int) (mesh.Identity, error) {
	mac := binary.BigEndian.AppendUint32(net.HardwareAddr{2, 0}, uint32(number))
	return mesh.NewIdentity(nodeID(number), privateKey(number), c.config.Cluster.ID, mac)
}

// host returns a machine with one address, in a network that all share.
func host(number int) mesh.Host {
	address := netip.AddrFrom4([4]byte{10, byte(100 + number>>16), byte(number >> 8), byte(number)})
	network := netip.PrefixFrom(address, 8).Masked()
	return mesh.Host{
		Hostname:        "machine-" + strconv.Itoa(number),
		OperatingSystem: "Debian GNU/Linux 13 (trixie)",
		Addresses:       []netip.Addr{address},
		OnDefault:       1,
		Links:           []mesh.Link{{Name: "eth0", MTU: 1500, Networks: []netip.Prefix{network}, Default: true, Up: true}},
		Own:             []netip.Addr{address},
	}
}

// source returns the address on loopback that a machine calls from: servers count what each
// address does.
func source(number int) netip.Addr {
	return netip.AddrFrom4([4]byte{127, byte(1 + number>>16), byte(number >> 8), byte(number)})
}
