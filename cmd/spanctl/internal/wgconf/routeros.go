package wgconf

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spanmesh/span/schema"
)

// RouterOS returns the config as commands of RouterOS 7, for the terminal of a MikroTik router.
func RouterOS(c *Config) string {
	var w strings.Builder
	if c.Title != "" {
		w.WriteString(comment(c.Title) + "\n")
	}
	name := c.Interface.Name
	add := newCommand("/interface/wireguard/add").set("name", name).secret("private-key", c.Interface.PrivateKey)
	add.number("listen-port", c.Interface.ListenPort).number("mtu", c.Interface.MTU).end(&w)
	for _, a := range c.Interface.Addresses {
		if a.Addr().Is4() {
			newCommand("/ip/address/add").set("address", a.String()).set("interface", name).end(&w)
		} else {
			// The router is not to announce the network to its own.
			newCommand("/ipv6/address/add").set("address", a.String()).set("interface", name).set("advertise", "no").end(&w)
		}
	}
	for i := range c.Peers {
		p := &c.Peers[i]
		peer := newCommand("/interface/wireguard/peers/add").set("interface", name).set("comment", p.Name).
			set("public-key", p.PublicKey.String()).secret("preshared-key", p.PresharedKey)
		if host, port, err := net.SplitHostPort(p.Endpoint); err == nil {
			peer.set("endpoint-address", host).set("endpoint-port", port)
		}
		peer.set("allowed-address", joined(p.AllowedIPs, ","))
		if p.Keepalive != 0 {
			peer.set("persistent-keepalive", strconv.Itoa(p.Keepalive)+"s")
		}
		peer.end(&w)
		for _, network := range p.AllowedIPs {
			newCommand(routeCommand(network)).set("dst-address", network.String()).set("gateway", name).end(&w)
		}
	}
	return w.String()
}

// routeCommand returns the command that adds a route to a network.
func routeCommand(network netip.Prefix) string {
	if network.Addr().Is4() {
		return "/ip/route/add"
	}
	return "/ipv6/route/add"
}

// command is a command of RouterOS with its arguments.
type command struct{ text strings.Builder }

func newCommand(path string) *command {
	c := &command{}
	c.text.WriteString(path)
	return c
}

func (c *command) set(name, value string) *command {
	c.text.WriteString(" " + name + "=" + quoteRouterOS(value))
	return c
}

// number sets a number, but for 0.
func (c *command) number(name string, n int) *command {
	if n == 0 {
		return c
	}
	return c.set(name, strconv.Itoa(n))
}

func (c *command) secret(name string, s schema.Secret) *command {
	if !isShown(s) {
		return c
	}
	return c.set(name, s.Reveal())
}

func (c *command) end(w *strings.Builder) { w.WriteString(c.text.String() + "\n") }

// quoteRouterOS returns a string constant of RouterOS's language. In it, `$` begins a variable, `?` asks
// the console for help, and a backslash with two capital hexadecimal digits is a byte.
func quoteRouterOS(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(text) {
		switch {
		case c == '"' || c == '\\' || c == '$' || c == '?':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c >= 0x7f:
			fmt.Fprintf(&b, `\%02X`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
