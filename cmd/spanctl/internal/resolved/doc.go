// Package resolved has systemd-resolved ask a name server for the names of some domains alone
// (org.freedesktop.resolve1(5)). All other names are asked for as before.
//
// The settings are those of a link. systemd-resolved forgets them with it, and keeps them while it
// restarts itself, or the agent does.
package resolved
