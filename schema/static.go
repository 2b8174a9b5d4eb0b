package schema

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"cuelang.org/go/cue"
)

// checkPeers masks the networks of static peers and finds where two of them
// claim the same thing: there would be no telling which one has it.
func (s *source) checkPeers(peers []StaticPeer) Problems {
	var problems Problems
	add := func(i int, field, value, reason, want string) {
		path := []string{strconv.Itoa(i)}
		if field != "" {
			path = append(path, strings.Split(field, ".")...)
		}
		path = append(strings.Split(pathPeers, "."), path...)
		p := Problem{File: s.name, Path: dotted(path), Value: value, Reason: reason, Want: want}
		for ; len(path) > 0; path = path[:len(path)-1] {
			if v := s.user.LookupPath(selectors(path)); v.Exists() {
				s.at(&p, s.position(v, nil))
				break
			}
		}
		problems = append(problems, p)
	}
	names, keys := map[string]int{}, map[StaticKey]int{}
	networks := map[netip.Prefix]int{}
	for i, peer := range peers {
		for j := range peer.AllowedIPs {
			peer.AllowedIPs[j] = peer.AllowedIPs[j].Masked()
		}
		if peer.Name == "" {
			add(i, "", "", "has no name", "a name for people, unique among the static peers")
		} else if first, taken := names[peer.Name]; taken {
			add(i, "name", strconv.Quote(peer.Name), fmt.Sprintf("is the name of peers[%d] too", first), "a name of its own for each peer")
		}
		names[peer.Name] = i
		if peer.PublicKey == (StaticKey{}) {
			add(i, "", "", "has no publicKey", "the public key that `wg pubkey` prints")
		} else if first, taken := keys[peer.PublicKey]; taken {
			add(i, "publicKey", strconv.Quote(base64.StdEncoding.EncodeToString(peer.PublicKey[:])),
				fmt.Sprintf("is the key of peers[%d] too", first), "a key of its own for each peer")
		}
		keys[peer.PublicKey] = i
		for j, network := range peer.AllowedIPs {
			if first, taken := networks[network]; taken && first != i {
				add(i, "allowedIPs."+strconv.Itoa(j), strconv.Quote(network.String()),
					fmt.Sprintf("belongs to peers[%d] too", first), "every network with one peer")
			}
			networks[network] = i
		}
	}
	problems = append(problems, s.overlaps(peers)...)
	problems.sort()
	return problems
}

// overlaps finds networks of a static peer inside of another's. One network in
// another is how routing works, but not between two peers of one list: WireGuard
// would send by the longer prefix, spanctl gives an address to one peer alone.
func (s *source) overlaps(peers []StaticPeer) Problems {
	type owned struct {
		netip.Prefix
		peer, index int
	}
	var all []owned
	for i, peer := range peers {
		for j, network := range peer.AllowedIPs {
			all = append(all, owned{network, i, j})
		}
	}
	slices.SortFunc(all, func(a, b owned) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	var problems Problems
	var open []owned
	for _, o := range all {
		for len(open) > 0 && !open[len(open)-1].Overlaps(o.Prefix) {
			open = open[:len(open)-1]
		}
		for _, outer := range open {
			if outer.peer == o.peer || outer.Prefix == o.Prefix {
				continue
			}
			path := fmt.Sprintf("%s[%d].allowedIPs[%d]", pathPeers, o.peer, o.index)
			p := Problem{File: s.name, Path: path, Value: strconv.Quote(o.String()),
				Reason: fmt.Sprintf("is inside of %s, which belongs to peers[%d]", outer.Prefix, outer.peer), Want: "networks that do not overlap"}
			if v := s.user.LookupPath(cue.ParsePath(path)); v.Exists() {
				s.at(&p, s.position(v, nil))
			}
			problems = append(problems, p)
		}
		open = append(open, o)
	}
	return problems
}
