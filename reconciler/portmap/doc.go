// Package portmap decides when a machine asks the gateway in front of it to map a port of UDP to the
// machine, and what became of it.
//
// The gateway is asked by PCP (RFC 6887), NAT-PMP (RFC 6886) and, if that is wanted, UPnP (IGD), in this
// order, until one of them maps the port; that of IPv6 by PCP alone:
//
//	map ──▶ held ──half of the lifetime──▶ map ──▶ held
//	         │ every 2 minutes: check ──the gateway has forgotten it──▶ map
//	         └ another port, or turned off: release
//
// A Mapper depends only on what is passed to it, the time included. It is for one IP version and one
// goroutine; it has one call of the gateway under way at a time.
package portmap
