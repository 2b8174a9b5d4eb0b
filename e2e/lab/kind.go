package lab

import (
	"errors"
	"fmt"
	"net/netip"
)

// Kind is how a machine reaches the Internet, and how it is reached from there. The words of RFC 4787
// are in brackets.
type Kind int

// The kinds.
const (
	// NoNAT is a public address, and nothing is dropped.
	NoNAT Kind = iota
	// FullCone maps the port to one for everybody, and lets everybody in [endpoint-independent mapping
	// and filtering].
	FullCone
	// AddressRestricted lets in whom the machine has sent to [address-dependent filtering].
	AddressRestricted
	// PortRestricted lets in the addresses and ports that the machine has sent to [address and
	// port-dependent filtering].
	PortRestricted
	// PerDestination is symmetric: each destination has another port [address and port-dependent mapping].
	PerDestination
	// DoubleNAT is two port-restricted NATs, one behind the other.
	DoubleNAT
	// Hairpin is a port-restricted home behind the NAT of a carrier, which all homes of the kind share.
	// It carries packets between them.
	Hairpin
	// NoHairpin is such a home, and the carrier's NAT carries nothing between homes.
	NoHairpin
	// UDPBlocked lets TCP out only.
	UDPBlocked
	// IPv6Only has no IPv4.
	IPv6Only
	// AnswersOnly has a public address behind a firewall that lets answers in only.
	AnswersOnly
)

// Kinds are all kinds, in the order of tables.
var Kinds = []Kind{NoNAT, FullCone, AddressRestricted, PortRestricted, PerDestination, DoubleNAT, Hairpin, NoHairpin, UDPBlocked, IPv6Only, AnswersOnly}

// String returns the name of a kind for people.
func (k Kind) String() string {
	return [...]string{"none", "full cone", "address-restricted", "port-restricted", "symmetric", "double NAT",
		"shared NAT, hairpin", "shared NAT, no hairpin", "UDP blocked", "IPv6 only", "firewall, answers only"}[k]
}

// Place is a machine on the Internet, and what is in front of it.
type Place struct {
	*Node

	Kind Kind
	// Routers are those between the machine and the backbone, the nearest first.
	Routers []*Node
}

// carrier is a NAT that homes share.
type carrier struct {
	router *Node
	inside *segment
}

// AddPlace makes a machine.
func (in *Internet) AddPlace(name string, kind Kind) (*Place, error) {
	place := &Place{Kind: kind}
	var err error
	switch kind {
	case NoNAT, IPv6Only:
		place.Node, err = in.addPublic(name, kind)
	case AnswersOnly:
		err = in.addBehindFirewall(place, name)
	case Hairpin, NoHairpin:
		err = in.addBehindCarrier(place, name)
	case DoubleNAT:
		var c *carrier
		if c, err = in.newCarrier(name+"-carrier", kind); err == nil {
			err = in.addHome(place, name, c, PortRestricted)
		}
	default:
		err = in.addBehindRouter(place, name)
	}
	if err != nil {
		return nil, fmt.Errorf("make %s (%s): %w", name, kind, err)
	}
	return place, nil
}

func (in *Internet) addPublic(name string, kind Kind) (*Node, error) {
	network, network6 := in.nextNetworks()
	if kind == IPv6Only {
		network = network6
	}
	s, err := in.connect(network)
	if err != nil {
		return nil, err
	}
	return in.lab.add(name, s, gateway(network))
}

func (in *Internet) addBehindFirewall(place *Place, name string) error {
	router, err := in.addPublic(name+"-router", NoNAT)
	if err != nil {
		return err
	}
	// The core's link to the place is that of the router.
	network := netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(8 * in.links)}), publicBits)
	err = errors.Join(in.routeTo(network, router.Address), forwardPackets(router), router.filter(AnswersOnly))
	if err != nil {
		return err
	}
	inside, err := in.behind(router, network)
	if err != nil {
		return err
	}
	place.Routers = []*Node{router}
	place.Node, err = in.lab.add(name, inside, gateway(network))
	return err
}

func (in *Internet) addBehindRouter(place *Place, name string) error {
	router, err := in.addPublic(name+"-router", NoNAT)
	if err != nil {
		return err
	}
	return in.furnish(place, name, router)
}

func (in *Internet) addBehindCarrier(place *Place, name string) error {
	c := in.carriers[place.Kind]
	if c == nil {
		var err error
		if c, err = in.newCarrier(name+"-carrier", place.Kind); err != nil {
			return err
		}
		in.carriers[place.Kind] = c
	}
	return in.addHome(place, name, c, PortRestricted)
}

// newCarrier makes a NAT for homes.
func (in *Internet) newCarrier(name string, kind Kind) (*carrier, error) {
	router, err := in.addPublic(name, NoNAT)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(forwardPackets(router), router.filter(kind)); err != nil {
		return nil, err
	}
	inside, err := in.behind(router, netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, byte(in.links), 0}), 24))
	return &carrier{router, inside}, err
}

// addHome makes a machine behind a home's router behind a carrier.
func (in *Internet) addHome(place *Place, name string, c *carrier, kind Kind) error {
	router, err := in.lab.add(name+"-router", c.inside, gateway(c.inside.network))
	if err != nil {
		return err
	}
	outer := place.Kind
	place.Kind = kind
	err = in.furnish(place, name, router)
	place.Kind = outer
	if err != nil {
		return err
	}
	place.Routers = append(place.Routers, c.router)
	return c.router.mapPort(outer, netip.AddrPortFrom(router.Address, MappedPort), SharedPort(router))
}

// SharedPort returns the port that a carrier's NAT gives WireGuard of the home of a router.
func SharedPort(router *Node) uint16 { return 41000 + uint16(router.Address.As4()[3]) }

// furnish makes a private network behind a router, with a machine on it.
func (in *Internet) furnish(place *Place, name string, router *Node) error {
	if err := errors.Join(forwardPackets(router), router.filter(place.Kind)); err != nil {
		return err
	}
	in.homes++
	network := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(in.homes), 0}), 24)
	inside, err := in.behind(router, network)
	if err != nil {
		return err
	}
	if place.Node, err = in.lab.add(name, inside, gateway(network)); err != nil {
		return err
	}
	place.Routers = []*Node{router}
	return router.mapPort(place.Kind, netip.AddrPortFrom(place.Address, wireguardPort), MappedPort)
}

// behind makes a network behind a router, which has its first address.
func (in *Internet) behind(router *Node, network netip.Prefix) (*segment, error) {
	s, err := in.lab.newNetwork(network)
	if err != nil {
		return nil, err
	}
	return s, router.attach(insideLink, s, s.next())
}
