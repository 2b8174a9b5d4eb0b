package wgconf

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spanmesh/span/schema"
)

// WG returns the config as `wg setconf` reads it: without addresses and MTU.
func WG(c *Config) string { return c.text(false) }

// WGQuick returns the config as `wg-quick up` reads it, and the apps of WireGuard.
func WGQuick(c *Config) string { return c.text(true) }

// text returns the config in the format of wg(8), with what wg-quick(8) adds to it if quick is set.
func (c *Config) text(quick bool) string {
	var w writer
	if c.Title != "" {
		w.line(comment(c.Title))
	}
	w.line("[Interface]")
	w.secret("PrivateKey", c.Interface.PrivateKey)
	if quick && len(c.Interface.Addresses) > 0 {
		w.set("Address", joined(c.Interface.Addresses, ", "))
	}
	w.number("ListenPort", c.Interface.ListenPort)
	if mark := c.Interface.FirewallMark; mark != 0 {
		w.set("FwMark", fmt.Sprintf("%#x", mark))
	}
	if quick {
		w.number("MTU", c.Interface.MTU)
	}
	for i := range c.Peers {
		p := &c.Peers[i]
		w.line("")
		w.line("[Peer]")
		if p.Name != "" {
			w.line(comment(p.Name))
		}
		w.set("PublicKey", p.PublicKey.String())
		w.secret("PresharedKey", p.PresharedKey)
		if len(p.AllowedIPs) > 0 {
			w.set("AllowedIPs", joined(p.AllowedIPs, ", "))
		}
		if p.Endpoint != "" {
			w.set("Endpoint", p.Endpoint)
		}
		w.number("PersistentKeepalive", p.Keepalive)
	}
	return w.String()
}

// writer writes lines of settings.
type writer struct{ strings.Builder }

func (w *writer) line(text string) { w.WriteString(text + "\n") }

func (w *writer) set(name, value string) { w.line(name + " = " + value) }

// number writes a number, but for 0.
func (w *writer) number(name string, n int) {
	if n != 0 {
		w.set(name, strconv.Itoa(n))
	}
}

// secret writes a secret. wg(8) refuses a file with "(hidden)" in the place of a key.
func (w *writer) secret(name string, s schema.Secret) {
	switch {
	case isShown(s):
		w.set(name, s.Reveal())
	case !s.IsZero():
		w.line("# " + name + " = " + schema.Hidden)
	}
}
