package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
)

// podLink is the node's link to its pods, as a network plugin makes it.
const podLink = "pods1"

// AddPod makes a pod: a network namespace behind the node. The node has the first address of
// each network, the pod the second. The MTU of the pod's link is in bytes.
func (n *Node) AddPod(name string, mtu int, networks ...netip.Prefix) (*Node, error) {
	l := n.lab
	l.mu.Lock()
	defer l.mu.Unlock()
	segment, err := newSegment(networks[0])
	if err != nil {
		return nil, err
	}
	l.networks = append(l.networks, segment)
	pod := &Node{Name: name, Dir: filepath.Join(l.Dir, name), lab: l}
	if err := pod.begin(); err != nil {
		return nil, errors.Join(err, pod.end())
	}
	l.nodes = append(l.nodes, pod)
	for i, network := range networks {
		gateway := network.Addr().Next()
		address := gateway.Next()
		if i == 0 {
			pod.Address = address
			err = errors.Join(n.attach(podLink, segment, netip.PrefixFrom(gateway, network.Bits())),
				pod.attach(Link, segment, netip.PrefixFrom(address, network.Bits())), pod.setMTU(Link, mtu))
		} else {
			err = errors.Join(n.addAddress(podLink, netip.PrefixFrom(gateway, network.Bits())),
				pod.addAddress(Link, netip.PrefixFrom(address, network.Bits())))
		}
		if err = errors.Join(err, pod.defaultRoute(gateway)); err != nil {
			return nil, fmt.Errorf("make the pod %s: %w", name, err)
		}
	}
	return pod, errors.Join(n.Write("/proc/sys/net/ipv4/ip_forward", "1"), n.Write("/proc/sys/net/ipv6/conf/all/forwarding", "1"))
}
