// Package gateway asks the router in front of a machine to map a port of UDP to the machine, by PCP
// (RFC 6887), NAT-PMP (RFC 6886) and UPnP. When it is asked for what, package portmap decides.
//
// All packets go to the gateway alone, but for the search of UPnP, which the network of the gateway sees.
// They have the firewall mark, so that they go past the tunnel, and the priority by which the guard
// knows them. Only the gateway's own address is heard, and of UPnP only URLs at that address are read.
// Whatever comes is bounded before it is decoded.
package gateway
