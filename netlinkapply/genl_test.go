package netlinkapply

import (
	"net/netip"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/netlinkapply/userspace"
)

// TestMessagesHoldAllPeersAndNetworks decodes the messages with another library. Where the kernel
// has WireGuard, it reads them in other tests.
func TestMessagesHoldAllPeersAndNetworks(t *testing.T) {
	var peers []userspace.PeerSetting
	for i := range 700 {
		p := userspace.PeerSetting{PublicKey: [32]byte{byte(i), byte(i >> 8)}, PresharedKey: [32]byte{1}, HasPresharedKey: true, ReplaceAllowedIPs: true,
			Keepalive: 25, HasKeepalive: true, Endpoint: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), uint16(1000+i))}
		networks := 2
		if i == 300 {
			networks = 5000
		}
		for n := range networks {
			p.AllowedIPs = append(p.AllowedIPs, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), byte(n >> 8), byte(n)}), 32))
		}
		peers = append(peers, p)
	}
	networks, replaced, created := map[[32]byte]int{}, map[[32]byte]int{}, map[[32]byte]int{}
	messages := 0
	for rest := peers; len(rest) > 0; messages++ {
		var message []byte
		message, rest = encodePeers("kubespan", rest)
		if len(message) > 0xffff {
			t.Fatalf("a message has %d bytes", len(message))
		}
		decoder, err := netlink.NewAttributeDecoder(message)
		if err != nil {
			t.Fatal(err)
		}
		for decoder.Next() {
			switch decoder.Type() {
			case unix.WGDEVICE_A_IFNAME:
				if decoder.String() != "kubespan" {
					t.Errorf("the link is %q", decoder.String())
				}
			case unix.WGDEVICE_A_PEERS:
				decoder.Nested(func(list *netlink.AttributeDecoder) error {
					for list.Next() {
						list.Nested(func(p *netlink.AttributeDecoder) error {
							var key [32]byte
							for p.Next() {
								switch p.Type() {
								case unix.WGPEER_A_PUBLIC_KEY:
									key = [32]byte(p.Bytes())
								case unix.WGPEER_A_FLAGS:
									if p.Uint32()&unix.WGPEER_F_REPLACE_ALLOWEDIPS != 0 {
										replaced[key]++
									}
									if p.Uint32()&unix.WGPEER_F_UPDATE_ONLY == 0 {
										created[key]++
									}
								case unix.WGPEER_A_ALLOWEDIPS:
									p.Nested(func(ips *netlink.AttributeDecoder) error {
										for ips.Next() {
											networks[key]++
										}
										return nil
									})
								}
							}
							return nil
						})
					}
					return nil
				})
			}
		}
		if err := decoder.Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range peers {
		if networks[p.PublicKey] != len(p.AllowedIPs) || replaced[p.PublicKey] != 1 || created[p.PublicKey] != 1 {
			t.Errorf("peer %v has %d networks of %d, was replaced %d and created %d times", p.PublicKey, networks[p.PublicKey], len(p.AllowedIPs),
				replaced[p.PublicKey], created[p.PublicKey])
		}
	}
	if messages < 5 {
		t.Errorf("all is in %d messages", messages)
	}
}
