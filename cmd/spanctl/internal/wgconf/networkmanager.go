package wgconf

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/spanmesh/span/schema"
)

// NetworkManager returns the config as a keyfile of NetworkManager (nm-settings-keyfile(5)), for
// /etc/NetworkManager/system-connections. NetworkManager routes the networks of the peers by itself.
// The ID tells the connection from others.
func NetworkManager(c *Config, id uuid.UUID) string {
	var w keyfile
	if c.Title != "" {
		w.line(comment(c.Title))
	}
	w.section("connection")
	w.set("id", c.Interface.Name)
	w.set("uuid", id.String())
	w.set("type", "wireguard")
	w.set("interface-name", c.Interface.Name)
	w.section("wireguard")
	w.secret("private-key", c.Interface.PrivateKey)
	w.number("listen-port", c.Interface.ListenPort)
	w.number("mtu", c.Interface.MTU)
	for i := range c.Peers {
		p := &c.Peers[i]
		w.section("wireguard-peer." + p.PublicKey.String())
		if p.Endpoint != "" {
			w.set("endpoint", p.Endpoint)
		}
		if isShown(p.PresharedKey) {
			w.secret("preshared-key", p.PresharedKey)
			w.set("preshared-key-flags", "0") // it is in the file, not with the user's agent
		}
		w.set("allowed-ips", joined(p.AllowedIPs, ";")+";")
		w.number("persistent-keepalive", p.Keepalive)
	}
	isIPv4 := func(p netip.Prefix) bool { return p.Addr().Is4() }
	isIPv6 := func(p netip.Prefix) bool { return !p.Addr().Is4() }
	w.addresses("ipv4", slices.DeleteFunc(slices.Clone(c.Interface.Addresses), isIPv6))
	w.addresses("ipv6", slices.DeleteFunc(slices.Clone(c.Interface.Addresses), isIPv4))
	return w.String()
}

// keyfile writes the settings of a keyfile.
type keyfile struct{ strings.Builder }

func (w *keyfile) line(text string) { w.WriteString(text + "\n") }

func (w *keyfile) section(name string) {
	if w.Len() > 0 {
		w.line("")
	}
	w.line("[" + name + "]")
}

func (w *keyfile) set(name, value string) { w.line(name + "=" + value) }

func (w *keyfile) number(name string, n int) {
	if n != 0 {
		w.set(name, strconv.Itoa(n))
	}
}

func (w *keyfile) secret(name string, s schema.Secret) {
	if isShown(s) {
		w.set(name, s.Reveal())
	}
}

// addresses writes the section of an IP version. A default route comes from elsewhere.
func (w *keyfile) addresses(section string, own []netip.Prefix) {
	w.section(section)
	if len(own) == 0 {
		w.set("method", "disabled")
		return
	}
	w.set("method", "manual")
	for i, a := range own {
		w.set(fmt.Sprintf("address%d", i+1), a.String())
	}
}
