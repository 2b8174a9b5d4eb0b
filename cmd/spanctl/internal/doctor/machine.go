package doctor

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/reconciler/health"
)

// runAsRoot is the remedy for what this process may not do.
const runAsRoot = "run as root"

func agent(f *Facts) []Finding {
	switch {
	case f.SocketDenied:
		return one(Skip, "agent", "this user may not use the agent's socket "+f.Socket, runAsRoot)
	case f.Agent == nil:
		return one(Skip, "agent", "nobody answers at "+f.Socket, f.Start)
	case f.Silent.Code != "":
		return one(Fail, "agent", f.Silent.Cause+fmt.Sprintf(", pid %d", f.Agent.PID), f.Silent.Remedy)
	}
	return one(OK, "agent", fmt.Sprintf("answers at %s, pid %d", f.Socket, f.Agent.PID), "")
}

func config(f *Facts) []Finding {
	bad, stays := Fail, ""
	if f.InForce {
		bad, stays = Warn, "; the one before stays in force"
	}
	if f.Earlier {
		stays += ", and the checks below are of that one"
		if !f.InForce {
			stays = "; the checks below are of the one in force"
		}
	}
	switch {
	case f.Config != nil && !f.Earlier:
		return one(OK, "config", f.ConfigPath+" is valid", "")
	case f.ConfigDenied:
		return one(Skip, "config", "this user may not read "+f.ConfigPath, runAsRoot)
	case f.ConfigFault != "":
		return one(bad, "config", f.ConfigFault+stays, "`spanctl validate -f "+f.ConfigPath+"`")
	case f.ConfigPath == "":
		return one(Skip, "config", "it is not known where it is", "")
	default:
		return one(bad, "config", f.ConfigPath+" is missing"+stays, "`spanctl apply -f FILE`")
	}
}

// identity judges the files of the identity, as the agent does that starts with them.
func identity(f *Facts) []Finding {
	if f.IdentityFault != "" {
		return one(Skip, "identity", f.IdentityFault, runAsRoot)
	}
	var found []Finding
	for _, c := range f.Identity {
		if f.Agent != nil && f.Silent.Code == "" && !f.IdentityInUse {
			found = append(found, Finding{Warn, "identity", c.Cause + "; the agent works with what it has read before, until it starts again", c.Remedy})
			continue
		}
		found = append(found, Finding{Fail, "identity", c.Cause, c.Remedy})
	}
	if len(found) == 0 {
		return one(OK, "identity", "its files are valid, or not there yet", "")
	}
	return found
}

// rights judges the capabilities of the agent, or else of this process.
func rights(f *Facts) []Finding {
	p, of := f.Self, "this command"
	if f.Agent != nil {
		p, of = *f.Agent, fmt.Sprintf("the agent, pid %d,", f.Agent.PID)
	}
	has := func(bit int) bool { return p.Capabilities>>bit&1 == 1 }
	switch {
	case !p.Known:
		return one(Skip, "rights", "the capabilities of "+strings.TrimSuffix(of, ",")+" cannot be read", runAsRoot)
	case !has(unix.CAP_NET_ADMIN) && f.Agent == nil:
		return one(Skip, "rights", of+" has no CAP_NET_ADMIN", runAsRoot)
	case !has(unix.CAP_NET_ADMIN):
		return one(Fail, "rights", of+" has no CAP_NET_ADMIN", "run it as root, or by its unit")
	case !has(unix.CAP_NET_RAW):
		return one(Warn, "rights", of+" has no CAP_NET_RAW: a dead peer is noticed late, and the outside address of the UDP port is not asked for", "run it as root, or by its unit")
	default:
		return one(OK, "rights", of+" has CAP_NET_ADMIN and CAP_NET_RAW", "")
	}
}

func wireguard(f *Facts) []Finding {
	h := &f.Host
	switch {
	case h.Wireguard == "kernel" && !h.KernelWireguard:
		return one(Fail, "wireguard", "the kernel has none, and --wireguard is kernel", "set it to auto")
	case h.KernelWireguard && h.Wireguard != "userspace":
		return one(OK, "wireguard", "in the kernel", "")
	case h.TUN:
		return one(OK, "wireguard", "in userspace, by /dev/net/tun", "")
	default:
		return one(Fail, "wireguard", "neither the kernel has it, nor is there /dev/net/tun", "`modprobe tun`, or `modprobe wireguard`")
	}
}

func modules(f *Facts) []Finding {
	if !f.Host.NFTables {
		return one(Fail, "modules", "the kernel has no nftables", "`modprobe nf_tables`, or a kernel with it")
	}
	return one(OK, "modules", "nf_tables", "")
}

func ipv6(f *Facts) []Finding {
	link := ""
	if f.Config != nil {
		link = f.Config.Link
	}
	own := f.Host.Sysctls["ipv6/conf/"+link+"/disable_ipv6"]
	switch {
	case !f.Host.IPv6:
		return one(Fail, "ipv6", "the kernel runs without it", "boot without ipv6.disable=1")
	case own == "1":
		return one(Fail, "ipv6", "is disabled on "+link, "`sysctl -w net.ipv6.conf."+link+".disable_ipv6=0`")
	case own == "" && f.Host.Sysctls["ipv6/conf/all/disable_ipv6"] == "1":
		return one(Warn, "ipv6", "is disabled on all links", "`sysctl -w net.ipv6.conf.all.disable_ipv6=0`")
	default:
		return one(OK, "ipv6", "is enabled", "")
	}
}

// reversePath judges whether the kernel drops packets out of the tunnel (ip-sysctl, rp_filter).
func reversePath(f *Facts) []Finding {
	switch {
	case f.Config == nil:
		return noConfig("rp_filter")
	case !f.Host.HasLink:
		return one(Skip, "rp_filter", "there is no link "+f.Config.Link, "")
	}
	own, all := f.Host.Sysctls["ipv4/conf/"+f.Config.Link+"/rp_filter"], f.Host.Sysctls["ipv4/conf/all/rp_filter"]
	if max(number(own), number(all)) == 1 {
		return one(Fail, "rp_filter", "drops packets out of "+f.Config.Link, "`sysctl -w net.ipv4.conf."+f.Config.Link+".rp_filter=2`")
	}
	return one(OK, "rp_filter", "passes packets out of "+f.Config.Link, "")
}

func number(text string) int {
	n, _ := strconv.Atoi(text) // 0 for what is missing
	return n
}

func forwarding(f *Facts) []Finding {
	if f.Config == nil {
		return noConfig("forwarding")
	}
	on := func(sysctl string) bool { return f.Host.Sysctls[sysctl] == "1" }
	switch {
	case f.Config.RelayOffer:
	case f.Config.BlindOffer && on("ipv6/conf/all/forwarding"):
		return one(OK, "forwarding", "is on: because relay.offer is set, this machine also forwards traffic of earlier versions, and can read it", "")
	case f.Config.BlindOffer:
		return one(Skip, "forwarding", "relay.offer needs no forwarding; see check `relay`", "")
	default:
		return one(Skip, "forwarding", "relay.forwarding.offer is not set", "")
	}
	if c, is := (health.Relay{Offered: true, IPv6: on("ipv6/conf/all/forwarding"), IPv4: on("ipv4/ip_forward")}).Condition(); is {
		return one(Warn, "forwarding", c.Cause, c.Remedy)
	}
	return one(OK, "forwarding", "is on", "")
}

// localTable is the kernel's table of local addresses (ip-rule(8)).
const localTable = 255

// takes says which packets the rule takes where to.
func (r Rule) takes() string {
	what := "all packets"
	if name := map[int]string{unix.IPPROTO_TCP: "TCP", unix.IPPROTO_UDP: "UDP"}[r.Protocol]; name != "" {
		what = "all " + name + " packets"
	}
	if r.Destination != "" {
		what += " to " + r.Destination
	}
	if r.Table <= 0 {
		return what + " away" // it drops them, or jumps
	}
	return fmt.Sprintf("%s to table %d", what, r.Table)
}

// ruleOrder judges the rules that are looked at before ours.
func ruleOrder(f *Facts) []Finding {
	if f.Config == nil {
		return noConfig("rules")
	}
	var found []Finding
	for _, r := range f.Host.Rules {
		if r.Ours || r.Narrow || r.Table == localTable || r.Table == f.Config.RoutingTable || r.Priority >= f.Config.RulePriority {
			continue
		}
		found = append(found, Finding{Warn, "rules", fmt.Sprintf("%s rule %d takes %s before the mesh's rule %d",
			r.Family, r.Priority, r.takes(), f.Config.RulePriority), fmt.Sprintf("set rulePriority below %d, or remove that rule", r.Priority)})
	}
	if len(found) == 0 {
		return one(OK, "rules", "none takes packets before the mesh's", "")
	}
	return found
}

func port(f *Facts) []Finding {
	if f.Config == nil {
		return noConfig("port")
	}
	name, owner := fmt.Sprintf("UDP %d", f.Config.ListenPort), f.Host.Port
	switch {
	case !owner.Found && f.Host.HasLink:
		return one(Warn, "port", name+" is nobody's, and there is a link "+f.Config.Link, "`spanctl reload`")
	case !owner.Found:
		return one(OK, "port", name+" is free", "")
	case owner.PID != 0 && f.Host.PortIsOurs:
		return one(OK, "port", fmt.Sprintf("%s is WireGuard's, pid %d", name, owner.PID), "")
	case owner.PID != 0:
		return one(Fail, "port", fmt.Sprintf("%s is taken by %s, pid %d", name, owner.Name, owner.PID), "end it, or set listenPort")
	case owner.Hidden:
		return one(Skip, "port", name+" is in use, and not all processes can be looked at", runAsRoot)
	case f.Host.HasLink:
		return one(OK, "port", name+" is the kernel's WireGuard's", "")
	default:
		return one(Fail, "port", name+" is taken by the kernel, such as for a WireGuard link of another program", "remove that link, or set listenPort")
	}
}

func fileModes(f *Facts) []Finding {
	var found []Finding
	for _, c := range health.JudgeFiles(f.Files) {
		found = append(found, Finding{Warn, "files", c.Cause, c.Remedy})
	}
	switch {
	case len(f.Files) == 0:
		return one(Skip, "files", "there are none, or they cannot be looked at", "")
	case len(found) == 0:
		return one(OK, "files", "others may not read or change them", "")
	default:
		return found
	}
}
