package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/vishvananda/netlink"
)

// The networks that the nodes of a lab may share.
var (
	Underlay  = netip.MustParsePrefix("172.20.0.0/24")
	Underlay6 = netip.MustParsePrefix("2001:db8:20::/64")
)

// Lab is a network of nodes.
type Lab struct {
	// Dir is the directory of the nodes' files.
	Dir string
	// Binary is the path of the spanctl that the nodes run.
	Binary string

	// segment is the network of all nodes that are not at a site.
	segment *segment

	mu    sync.Mutex
	nodes []*Node
	sites []*Site
	// networks are the others: those of pods, and those of an Internet.
	networks []*segment
	// apart is where nodes are that were cut off; nil where there are none.
	apart *segment
}

// segment is a network: a bridge that nodes are attached to.
type segment struct {
	network netip.Prefix
	bridge  netlink.Link
	last    netip.Addr
}

// segments counts the segments that this program made, for unique names.
var segments atomic.Int32

func newSegment(network netip.Prefix) (*segment, error) {
	name := fmt.Sprintf("lab%d", segments.Add(1))
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}
	if err := netlink.LinkAdd(bridge); err != nil {
		return nil, fmt.Errorf("make the bridge %s: %w", name, err)
	}
	s := &segment{network: network, bridge: bridge, last: network.Addr()}
	if err := netlink.LinkSetUp(bridge); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *segment) close() error { return netlink.LinkDel(s.bridge) }

// next returns the next free address.
func (s *segment) next() netip.Prefix {
	s.last = s.last.Next()
	return netip.PrefixFrom(s.last, s.network.Bits())
}

// New makes a lab without nodes whose network is Underlay. It must be closed.
func New(dir, binary string) (*Lab, error) { return NewOn(dir, binary, Underlay) }

// NewOn makes a lab without nodes on a network. It must be closed.
func NewOn(dir, binary string, network netip.Prefix) (*Lab, error) {
	// Short, since the path of a unix socket in it must fit in 107 bytes.
	dir, err := os.MkdirTemp(dir, "lab")
	if err != nil {
		return nil, err
	}
	segment, err := newSegment(network)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &Lab{Dir: dir, Binary: binary, segment: segment}, nil
}

// Close ends all nodes and removes what the lab made.
func (l *Lab) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var err error
	for _, n := range l.nodes {
		err = errors.Join(err, n.end())
	}
	l.nodes = nil
	for _, s := range l.sites {
		err = errors.Join(err, s.segment.close())
	}
	for _, s := range l.networks {
		err = errors.Join(err, s.close())
	}
	if l.apart != nil {
		err = errors.Join(err, l.apart.close())
	}
	return errors.Join(err, l.segment.close(), os.RemoveAll(l.Dir))
}

// AddNode makes a node on the lab's network. Its address is the next free one.
func (l *Lab) AddNode(name string) (*Node, error) { return l.add(name, l.segment, netip.Addr{}) }

// Join gives this program an address on the lab's network, until the lab is closed. Labs of
// one program that it joins need different networks.
func (l *Lab) Join() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return netlink.AddrAdd(l.segment.bridge, Address(l.segment.next()))
}

// Nodes returns all nodes.
func (l *Lab) Nodes() []*Node {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.nodes)
}

// add makes a node on a network, with a default route to gateway if that is valid.
func (l *Lab) add(name string, s *segment, gateway netip.Addr) (*Node, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	prefix := s.next()
	n := &Node{Name: name, Address: prefix.Addr(), Dir: filepath.Join(l.Dir, name), lab: l}
	err := n.begin()
	if err == nil {
		err = n.attach(Link, s, prefix)
	}
	if err == nil && gateway.IsValid() {
		err = n.defaultRoute(gateway)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make node %s: %w", name, err), n.end())
	}
	l.nodes = append(l.nodes, n)
	return n, nil
}
