// Package tunnels carries packets to blind relays over TCP in a process of its own, which outlives the
// agent: where UDP is blocked, WireGuard's packets pass it, and an agent that is restarted or upgraded
// must not lose them.
//
//	WireGuard --UDP, loopback--> process: one tunnel.Tunnel for each relay --TCP, TLS--> relay
//	                                 ^
//	agent ------ Keep, control socket'
//
// Keep says which tunnels there are to be. It starts the process if there is none. A process of another
// version goes on while a tunnel is in use, since its end would interrupt the streams: fields are only
// added to what both send. It knows neither keys of the mesh nor tokens of discovery, and what it gets
// from the agent besides addresses is the password of a proxy, if the proxy's URL has one.
package tunnels
