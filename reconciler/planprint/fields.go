package planprint

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/state"
)

func linkFields(c state.LinkChange) []Field {
	before, after := c.Old, c.New
	var key Field
	if c.NewPrivateKey() {
		key = changed("privateKey", privateKey(before.PrivateKey.Public()), privateKey(after.PrivateKey.Public()))
	}
	list := fields(
		changed("name", before.Name, after.Name),
		changed("mtu", number(before.MTU), number(after.MTU)),
		key,
		changed("listenPort", number(before.ListenPort), number(after.ListenPort)),
		changed("firewallMark", hex(before.FirewallMark), hex(after.FirewallMark)),
		changed("up", strconv.FormatBool(before.Up), strconv.FormatBool(after.Up)),
	)
	if c.Action() == state.Create {
		list = slices.DeleteFunc(list, func(f Field) bool { return f.Name == "name" }) // the object has it
		for i := range list {
			list[i].From = "" // a zero mark is not a value of a link that is not there
		}
	}
	return list
}

func peerFields(c state.PeerChange) []Field {
	var list []Field
	if c.NewPresharedKey() {
		// The texts of two keys are equal.
		list = append(list, changed("presharedKey", presharedKey(c.Old.PresharedKey), presharedKey(c.New.PresharedKey)))
	}
	list = append(list, fields(changed("keepalive", seconds(c.Old.Keepalive), seconds(c.New.Keepalive)))...)
	if c.NewAllowedIPs() {
		list = append(list, allowedIPs(c.Old.AllowedIPs, c.New.AllowedIPs)...)
	}
	if c.NewEndpoint() {
		list = append(list, changed("endpoint", endpoint(c.Old.Endpoint), endpoint(c.New.Endpoint)))
	}
	return list
}

// allowedIPs shows both lists, or where one of them would be shortened, what is added and
// removed.
func allowedIPs(before, after []netip.Prefix) []Field {
	if len(before) == 0 || max(len(before), len(after)) <= maxListed {
		return []Field{changed("allowedIPs", prefixes(before), prefixes(after))}
	}
	return fields(set("allowedIPs added", prefixes(minus(after, before))), set("allowedIPs removed", prefixes(minus(before, after))))
}

func minus(a, b []netip.Prefix) []netip.Prefix {
	var left []netip.Prefix
	for _, prefix := range a {
		if !slices.Contains(b, prefix) {
			left = append(left, prefix)
		}
	}
	return left
}

func firewallFields(c state.FirewallChange) []Field {
	if c.Action() == state.Create {
		return fields(set("chains", strconv.Itoa(len(c.New.Chains))), set("guard", c.New.Guard.Table), set("networks", prefixes(c.New.Networks)))
	}
	list := fields(set("table", only(c.New.Table, c.Old.Table)), set("guard", only(c.New.Guard.Table, c.Old.Guard.Table)))
	for _, name := range c.Old.Former {
		list = append(list, changed("former table", name, ""))
	}
	list = append(list, chainFields(c.Old.Chains, c.New.Chains)...)
	return append(list, chainFields(c.Old.Guard.Chains, c.New.Guard.Chains)...)
}

// only returns a, or "" if b is the same.
func only(a, b string) string {
	if a == b {
		return ""
	}
	return a
}

// chainFields returns what differs between the chains of a table before and after.
func chainFields(before, after []state.Chain) []Field {
	have := make(map[string]state.Chain, len(before))
	for _, chain := range before {
		have[chain.Name] = chain
	}
	var list []Field
	for _, chain := range after {
		old := have[chain.Name]
		delete(have, chain.Name)
		list = append(list, fields(changed(chain.Name, chainType(old), chainType(chain)))...)
		if !slices.Equal(old.Statements, chain.Statements) {
			list = append(list, changed(chain.Name+" rules", statements(old.Statements), statements(chain.Statements)))
		}
	}
	for _, chain := range before {
		if _, left := have[chain.Name]; left {
			list = append(list, changed(chain.Name, chainType(chain), ""))
		}
	}
	return list
}

func set(name, value string) Field { return changed(name, "", value) }

func changed(name, from, to string) Field { return Field{Name: name, From: from, To: to} }

// fields leaves out fields that do not differ.
func fields(list ...Field) []Field {
	return slices.DeleteFunc(list, func(f Field) bool { return f.From == f.To })
}

func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func hex(n uint32) string { return fmt.Sprintf("%#x", n) }

func mark(mark, mask uint32) string {
	if mask == 0 {
		return ""
	}
	return hex(mark) + "/" + hex(mask)
}

func seconds(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

// privateKey returns the public half, which distinguishes keys without revealing them.
func privateKey(public mesh.Key) string {
	if public.IsZero() {
		return ""
	}
	return fmt.Sprintf("(hidden, public %s)", public)
}

func presharedKey(k mesh.PrivateKey) string {
	if k.IsZero() {
		return ""
	}
	return k.String()
}

func endpoint(e netip.AddrPort) string {
	if !e.IsValid() {
		return ""
	}
	return e.String()
}

func chainType(c state.Chain) string {
	if c.Name == "" {
		return ""
	}
	return fmt.Sprintf("type %s hook %s priority %d", cmp.Or(c.Type, "none"), cmp.Or(c.Hook, "none"), c.Priority)
}

func prefixes(list []netip.Prefix) string { return listed(list, " ", netip.Prefix.String) }

func statements(list []state.Statement) string {
	return listed(list, " ", func(s state.Statement) string { return "[" + s.Comment() + "]" })
}

// maxListed is how many items of a list are shown.
const maxListed = 8

func listed[T any](list []T, separator string, show func(T) string) string {
	shown := make([]string, 0, min(len(list), maxListed))
	for _, item := range list[:min(len(list), maxListed)] {
		shown = append(shown, show(item))
	}
	text := strings.Join(shown, separator)
	if more := len(list) - maxListed; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
