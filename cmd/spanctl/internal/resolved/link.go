package resolved

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/godbus/dbus/v5"
)

// The names of the D-Bus API.
const (
	service       = "org.freedesktop.resolve1"
	objectPath    = "/org/freedesktop/resolve1"
	manager       = service + ".Manager"
	linkInterface = service + ".Link"
)

// Link has what systemd-resolved asks for over a link.
type Link struct {
	// Name and Index are those of the link.
	Name  string
	Index int
	// Server answers DNS queries at port 53.
	Server netip.Addr
	// Domains are those of the names that are asked for there, without a dot at the end.
	Domains []string
}

// ErrNotRunning is the error of a machine where systemd-resolved does not run, or D-Bus does not.
var ErrNotRunning = errors.New("systemd-resolved is not on the system's D-Bus")

// Apply has systemd-resolved ask as the link says. It changes what differs.
func Apply(ctx context.Context, link Link) error {
	return with(ctx, func(b *bus) error {
		if link.Index == 0 {
			return fmt.Errorf("there is no link %s", link.Name)
		}
		now, err := b.read(link.Index)
		if err != nil {
			return err
		}
		for _, c := range changes(&link, now) {
			if err := b.call(objectPath, manager+"."+c.method, c.arguments...).Err; err != nil {
				return explained(link.Name, c.method, err)
			}
		}
		return nil
	})
}

// Revert has systemd-resolved ask for nothing over a link, if it asks one of the servers there. It is no
// error if it does not run.
func Revert(ctx context.Context, index int, servers []netip.Addr) error {
	err := with(ctx, func(b *bus) error {
		now, err := b.read(index)
		if err != nil || !isOurs(now, servers) {
			return err
		}
		return b.call(objectPath, manager+".RevertLink", int32(index)).Err
	})
	var failure dbus.Error
	if errors.Is(err, ErrNotRunning) || errors.As(err, &failure) && failure.Name == service+".NoSuchLink" {
		return nil
	}
	return err
}

// isOurs reports whether settings have one server, which is one of these.
func isOurs(s settings, servers []netip.Addr) bool {
	if len(s.servers) != 1 {
		return false
	}
	address, _ := netip.AddrFromSlice(s.servers[0].Address) // invalid for what is no address
	return slices.Contains(servers, address)
}

// explained says what a failed call means.
func explained(link, method string, err error) error {
	var failure dbus.Error
	switch {
	case !errors.As(err, &failure):
	case failure.Name == service+".LinkBusy":
		return fmt.Errorf("systemd-networkd manages the link %s, and its settings are those that count: %w", link, err)
	case failure.Name == "org.freedesktop.DBus.Error.AccessDenied", failure.Name == "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired":
		return fmt.Errorf("polkit does not let the agent change it: %w", err)
	}
	return fmt.Errorf("%s of systemd-resolved: %w", method, err)
}

// server and search are elements of the properties DNS and Domains of a link. They have the link's index
// with it where they are read of all links.
type (
	server struct {
		Family  int32
		Address []byte
	}
	domain struct {
		Name      string
		RouteOnly bool
	}
)

// settings are the properties of a link that the agent sets.
type settings struct {
	servers      []server
	domains      []domain
	defaultRoute bool
	// dnssec and tls are "no" where neither is asked for: the names of a mesh are signed by nobody, and
	// WireGuard encrypts what leaves the machine.
	dnssec, tls string
}

// change is a call that sets something.
type change struct {
	method    string
	arguments []any
}

// changes returns the calls that make settings those of a link.
func changes(l *Link, now settings) (all []change) {
	index := int32(l.Index)
	// The default route comes first, and the server last: nothing else is ever asked for there.
	if now.defaultRoute {
		all = append(all, change{"SetLinkDefaultRoute", []any{index, false}})
	}
	want := make([]domain, len(l.Domains))
	for i, name := range l.Domains {
		want[i] = domain{Name: name, RouteOnly: true}
	}
	if !slices.Equal(now.domains, want) {
		all = append(all, change{"SetLinkDomains", []any{index, want}})
	}
	if now.dnssec != "no" {
		all = append(all, change{"SetLinkDNSSEC", []any{index, "no"}})
	}
	if now.tls != "no" {
		all = append(all, change{"SetLinkDNSOverTLS", []any{index, "no"}})
	}
	family := int32(10) // AF_INET6
	if l.Server.Is4() {
		family = 2
	}
	if len(now.servers) != 1 || now.servers[0].Family != family || !slices.Equal(now.servers[0].Address, l.Server.AsSlice()) {
		all = append(all, change{"SetLinkDNS", []any{index, []server{{Family: family, Address: l.Server.AsSlice()}}}})
	}
	return all
}

// bus is a connection to the system's D-Bus.
type bus struct {
	ctx  context.Context
	conn *dbus.Conn
}

// with calls do with a connection to a systemd-resolved that runs. It starts none.
func with(ctx context.Context, do func(b *bus) error) error {
	conn, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotRunning, err)
	}
	defer func() { _ = conn.Close() }() // nothing is under way
	b := &bus{ctx: ctx, conn: conn}
	var runs bool
	if err := conn.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.NameHasOwner", 0, service).Store(&runs); err != nil {
		return fmt.Errorf("%w: %w", ErrNotRunning, err)
	}
	if !runs {
		return ErrNotRunning
	}
	return do(b)
}

func (b *bus) call(path dbus.ObjectPath, method string, arguments ...any) *dbus.Call {
	return b.conn.Object(service, path).CallWithContext(b.ctx, method, dbus.FlagNoAutoStart, arguments...)
}

// read returns the settings of a link.
func (b *bus) read(index int) (s settings, err error) {
	var path dbus.ObjectPath
	if err := b.call(objectPath, manager+".GetLink", int32(index)).Store(&path); err != nil {
		return s, fmt.Errorf("find the link in systemd-resolved: %w", err)
	}
	for name, value := range map[string]any{"DNS": &s.servers, "Domains": &s.domains, "DefaultRoute": &s.defaultRoute, "DNSSEC": &s.dnssec, "DNSOverTLS": &s.tls} {
		var property dbus.Variant
		err := b.call(path, "org.freedesktop.DBus.Properties.Get", linkInterface, name).Store(&property)
		if err == nil {
			err = property.Store(value)
		}
		if err != nil {
			return s, fmt.Errorf("read %s of the link in systemd-resolved: %w", name, err)
		}
	}
	return s, nil
}
