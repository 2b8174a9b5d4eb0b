package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"github.com/vishvananda/netlink"
)

// Underlay is the network that the nodes of a lab share.
var Underlay = netip.MustParsePrefix("172.20.0.0/24")

// Lab is a network of nodes.
type Lab struct {
	// Dir is where the nodes keep their files, Binary the spanctl that they run.
	Dir, Binary string

	bridge netlink.Link

	mu    sync.Mutex
	nodes []*Node
}

// bridgeName is the link that nodes are attached to.
const bridgeName = "lab0"

// New makes a lab without nodes. It must be closed.
func New(dir, binary string) (*Lab, error) {
	// Short, since the path of a unix socket in it must fit in 107 bytes.
	dir, err := os.MkdirTemp(dir, "lab")
	if err != nil {
		return nil, err
	}
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridgeName}}
	if err := netlink.LinkAdd(bridge); err != nil {
		return nil, fmt.Errorf("make the lab's bridge: %w", err)
	}
	l := &Lab{Dir: dir, Binary: binary, bridge: bridge}
	if err := netlink.LinkSetUp(bridge); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
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
	return errors.Join(err, netlink.LinkDel(l.bridge), os.RemoveAll(l.Dir))
}

// AddNode makes a node on the lab's network. Its address is the next free one.
func (l *Lab) AddNode(name string) (*Node, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	address := Underlay.Addr().Next()
	for range l.nodes {
		address = address.Next()
	}
	n := &Node{Name: name, Address: address, Dir: filepath.Join(l.Dir, name), lab: l}
	if err := n.begin(); err != nil {
		return nil, errors.Join(fmt.Errorf("make node %s: %w", name, err), n.end())
	}
	l.nodes = append(l.nodes, n)
	return n, nil
}
