package health

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spanmesh/span/reconciler/condition"
)

// maxNamed bounds the conditions about machines that cannot be read, which anyone who knows the
// cluster ID can publish, and the hostnames that are repeated.
const maxNamed = 8

// Members is what is known of the machines of the cluster. The zero value is a machine without
// discovery.
type Members struct {
	// Cluster is the fingerprint of the cluster.
	Cluster string
	// Answered is set when every registry has answered.
	Answered bool
	// Others is the number of other machines that can be read, with static peers.
	Others int
	// Refused is the number of other machines that are not used for another reason than that they
	// cannot be read.
	Refused int
	// Unreadable are the node IDs of those that the cluster secret does not open, sorted.
	Unreadable []string
	// Before has what machines of Unreadable were when they could be read last, such as "db1
	// (192.0.2.7)", by node ID.
	Before map[string]string
	// Repeated are the hostnames that several machines have, sorted.
	Repeated []Repeat
	// Relay is what this machine does for others.
	Relay Relay
	// Version is that of spanctl here; Versions are others that run in the cluster, sorted.
	Version  string
	Versions []Version
}

// Version is a version of spanctl that other machines run.
type Version struct {
	Name string
	// Machines is how many run it, and First the name of one of them.
	Machines int
	First    string
}

// Repeat is a hostname that several machines have.
type Repeat struct {
	Hostname string
	// Machines are their node IDs, and Names what each is found by instead; empty where machines have no
	// names in the mesh.
	Machines, Names []string
}

// Relay is what a machine does for others.
type Relay struct {
	// Offered is set where the config offers it.
	Offered bool
	// IPv6 and IPv4 are set where the kernel forwards such packets.
	IPv6, IPv4 bool
	// Peer is a static peer that others are to reach through the machine; empty for none.
	Peer string
	// PeerIPv4 is set where one of them has networks of IPv4.
	PeerIPv4 bool
}

// judgeMembers finds the conditions of the machines of the cluster.
func judgeMembers(_ time.Time, s *Snapshot) []condition.Condition {
	m := &s.Members
	found := slices.Concat(m.secrets(), m.repeated())
	if m.Answered && m.Others+m.Refused+len(m.Unreadable) == 0 {
		found = append(found, condition.Condition{Code: condition.NoOtherMembers,
			Cause: "nobody else is in cluster " + m.Cluster,
			Remedy: "compare the cluster that `spanctl status` shows on two machines, and copy one config to all: " +
				"`spanctl gen config` makes a new cluster each time"})
	}
	if c, is := m.Relay.Condition(); is {
		found = append(found, c)
	}
	return append(found, m.versions()...)
}

// versions returns the condition of machines that run another version than this one.
func (m *Members) versions() []condition.Condition {
	if len(m.Versions) == 0 {
		return nil
	}
	machines := 0
	var named []string
	for _, v := range m.Versions {
		machines += v.Machines
		name := v.Name + " on " + v.First
		if v.Machines > 1 {
			name += fmt.Sprintf(" and %d more", v.Machines-1)
		}
		named = append(named, name)
	}
	if len(named) > maxNamed {
		named = append(named[:maxNamed], "…")
	}
	return []condition.Condition{{Code: condition.VersionsDiffer,
		Cause:  fmt.Sprintf("of %d others, %d do not run %s, as this machine does: %s", m.Others, machines, m.Version, strings.Join(named, "; ")),
		Remedy: "upgrade all to one version when it suits: neighbouring minor versions share a mesh"}}
}

// secrets returns the conditions of machines that the secret does not open.
func (m *Members) secrets() []condition.Condition {
	n := len(m.Unreadable)
	const remedy = "copy cluster.secret from one that works"
	switch {
	case n == 0:
		return nil
	case m.Others == 0 && n == 1:
		return []condition.Condition{{Code: condition.SecretDiffers, Remedy: remedy,
			Cause: fmt.Sprintf("the only other machine of the cluster, %s, cannot be read", m.Unreadable[0])}}
	case m.Others == 0:
		return []condition.Condition{{Code: condition.SecretDiffers, Remedy: remedy,
			Cause: fmt.Sprintf("none of the %d other machines can be read", n)}}
	case n > maxNamed:
		return []condition.Condition{{Code: condition.SecretDiffersThere, Remedy: "correct cluster.secret there",
			Cause: fmt.Sprintf("%d machines cannot be read: %s, …", n, strings.Join(m.Unreadable[:maxNamed], ", "))}}
	}
	var found []condition.Condition
	for _, id := range m.Unreadable {
		cause := id + " cannot be read"
		if before := m.Before[id]; before != "" {
			cause = fmt.Sprintf("%s, which was %s, cannot be read", id, before)
		}
		found = append(found, condition.Condition{Code: condition.SecretDiffersThere, Subject: id, Cause: cause,
			Remedy: "correct cluster.secret there"})
	}
	return found
}

// repeated returns the conditions of hostnames that several machines have.
func (m *Members) repeated() []condition.Condition {
	var found []condition.Condition
	for _, r := range m.Repeated[:min(len(m.Repeated), maxNamed)] {
		machines := r.Machines
		if len(machines) > maxNamed {
			machines = append(slices.Clone(machines[:maxNamed]), "…")
		}
		cause := fmt.Sprintf("%d machines have this hostname: %s", len(r.Machines), strings.Join(machines, ", "))
		if len(r.Names) > 0 {
			cause += "; none is found by it, but by " + strings.Join(r.Names[:min(len(r.Names), maxNamed)], ", ")
		}
		found = append(found, condition.Condition{Code: condition.HostnameRepeated, Subject: r.Hostname, Cause: cause,
			Remedy: "give each its own hostname: `hostnamectl hostname NAME`"})
	}
	return found
}

// Condition returns the condition of a machine that others use as a relay, and that does not forward.
func (r Relay) Condition() (c condition.Condition, is bool) {
	why := "relay.forwarding.offer is set"
	if !r.Offered {
		why = fmt.Sprintf("advertise is set for the static peer %s", r.Peer)
	}
	var off, sysctls []string
	if !r.IPv6 {
		off, sysctls = append(off, "IPv6"), append(sysctls, "net.ipv6.conf.all.forwarding=1")
	}
	if !r.IPv4 && (r.Offered || r.PeerIPv4) {
		off, sysctls = append(off, "IPv4"), append(sysctls, "net.ipv4.ip_forward=1")
	}
	if !r.Offered && r.Peer == "" || len(off) == 0 {
		return condition.Condition{}, false
	}
	return condition.Condition{Code: condition.RelayNotForwarding,
		Cause:  why + ", and forwarding of " + strings.Join(off, " and ") + " is off",
		Remedy: "`sysctl -w " + strings.Join(sysctls, " ") + "`"}, true
}
