package condition

import "time"

// The codes of the machine and its kernel, sorted. hostDefinitions has what they mean.
const (
	// FilesReadable is the code of a file with secrets that others may read or change, and of a
	// directory whose files they may replace.
	FilesReadable Code = "FilesReadable"
	// IPv6Disabled is the code of a kernel setting that disables IPv6, which the mesh needs.
	IPv6Disabled Code = "IPv6Disabled"
	// IdentityDamaged is the code of a file of the machine's identity that is not valid.
	IdentityDamaged Code = "IdentityDamaged"
	// LinkNameTaken is the code of a link of another program that has the mesh link's name.
	LinkNameTaken Code = "LinkNameTaken"
	// MTUTooLarge is the code of an MTU that the links to the peers do not leave room for.
	MTUTooLarge Code = "MTUTooLarge"
	// MarkRewritten is the code of packets whose mark another program changes after spanctl.
	MarkRewritten Code = "MarkRewritten"
	// MarkShared is the code of a rule of another program that tests our bits of the mark.
	MarkShared Code = "MarkShared"
	// MarkTaken is the code of a firewall mark that another mesh of this machine uses.
	MarkTaken Code = "MarkTaken"
	// MeshAddressOnLink is the code of an address of the config in a link's network.
	MeshAddressOnLink Code = "MeshAddressOnLink"
	// NetworkDown is the code of a machine that no link connects to others.
	NetworkDown Code = "NetworkDown"
	// NoNftables is the code of a kernel without nftables.
	NoNftables Code = "NoNftables"
	// NotPermitted is the code of a process that may not configure the network.
	NotPermitted Code = "NotPermitted"
	// PassFailing is the code of passes that fail for a reason that has no code of its own.
	PassFailing Code = "PassFailing"
	// PlanNotConverging is the code of an object that the kernel keeps otherwise than it was
	// written.
	PlanNotConverging Code = "PlanNotConverging"
	// PortTaken is the code of a UDP port of the config that another program has.
	PortTaken Code = "PortTaken"
	// RepeatedRepairs is the code of an object that another program changes again and again.
	RepeatedRepairs Code = "RepeatedRepairs"
	// RoutesShadowed is the code of a rule of another program that leads packets for the mesh
	// elsewhere.
	RoutesShadowed Code = "RoutesShadowed"
	// RulePriorityTaken is the code of a rule of another program at our priority.
	RulePriorityTaken Code = "RulePriorityTaken"
	// SecondAgent is the code of a link that another agent works on.
	SecondAgent Code = "SecondAgent"
	// StateUnwritable is the code of a state directory that cannot be written.
	StateUnwritable Code = "StateUnwritable"
	// TableTaken is the code of routes of another program in our table.
	TableTaken Code = "TableTaken"
	// WireGuardUnresponsive is the code of a WireGuard process that does not answer.
	WireGuardUnresponsive Code = "WireGuardUnresponsive"
)

// hostDefinitions define the codes of the machine and its kernel.
var hostDefinitions = []Definition{
	{
		Code: FilesReadable, Severity: SeverityWarning,
		Summary: "others may read or change a file that has secrets, or replace the files of a directory",
		Check:   "`ls -ld` of the paths that are named",
		Remedy:  "`chmod 600` the file, `chmod o-w` the directory; then change a secret that others could read: who has read it can join the mesh",
	},
	{
		Code: IPv6Disabled, Severity: SeverityError,
		Summary:  "IPv6 is disabled, and cannot be enabled for the mesh's link",
		Check:    "`sysctl -a --pattern disable_ipv6`",
		Remedy:   "set the sysctl that is named, or boot with IPv6",
		NotReady: true,
	},
	{
		Code: IdentityDamaged, Severity: SeverityError,
		Summary:  "a file of the machine's identity is not valid",
		Check:    "`ls -l` of the path that is named: a disk that was full leaves an empty file",
		Remedy:   "restore it from a backup, or remove it for the machine to get a new identity",
		NotReady: true,
	},
	{
		Code: LinkNameTaken, Severity: SeverityError,
		Summary:  "another program has a link with the mesh link's name",
		Check:    "`ip -details link`",
		Remedy:   "rename that link, or set another `interfaceName`",
		NotReady: true,
	},
	{
		Code: MTUTooLarge, Severity: SeverityWarning,
		Summary: "the mesh's MTU is larger than the links to the peers allow",
		Check:   "`ip link`",
		Remedy:  "`mtu: \"auto\"`",
	},
	{
		Code: MarkRewritten, Severity: SeverityError,
		Summary:     "another program changes the marks of packets to the mesh, which are dropped so that none leaves in clear",
		Check:       "`nft list ruleset`, `iptables-save`: rules that set marks; `nft list table inet spanguard-kubespan` counts what is dropped",
		Remedy:      "keep those rules off the bits of `fwmark`, or set it to a bit that no rule writes",
		NotReady:    true,
		ClearsAfter: 30 * time.Second,
	},
	{
		Code: MarkShared, Severity: SeverityWarning,
		Summary: "a rule of another program tests bits of `fwmark`",
		Check:   "`ip rule`; `ip -6 rule`",
		Remedy:  "set `fwmark` to an unused bit; `spanctl reload` removes a rule that an earlier config of spanctl left",
	},
	{
		Code: MarkTaken, Severity: SeverityError,
		Summary:  "another mesh of this machine uses bits of `fwmark`",
		Check:    "`ip rule`; `wg show all fwmark`",
		Remedy:   "set `fwmark` to unused bits in one of the meshes",
		NotReady: true,
	},
	{
		Code: MeshAddressOnLink, Severity: SeverityWarning,
		Summary: "an address of the config is in a network of another link",
		Check:   "`ip address`",
		Remedy:  "use a network for `addresses` that no link has",
	},
	{
		Code: NetworkDown, Severity: SeverityError,
		Summary:  "no link but the loopback is up and has an address",
		Check:    "`ip address`; `ip route`",
		Remedy:   "plug it in, or see to the program that configures the network",
		NotReady: true,
		Hides:    []Code{DiscoverySilent, DiscoveryUnpublished, DiscoveryUnreachable, PeerDown, PeerUnreachable, RelayNotJoined, RelayUnreachable, UDPBlocked},
	},
	{
		Code: NoNftables, Severity: SeverityError,
		Summary:  "the kernel has no nftables, which sends packets into the tunnel",
		Check:    "`nft list tables`",
		Remedy:   "`modprobe nf_tables`, or boot a kernel with it",
		NotReady: true,
	},
	{
		Code: NotPermitted, Severity: SeverityError,
		Summary:  "the agent may not configure the network",
		Check:    "`grep Cap /proc/$(pgrep -o spanctl)/status`",
		Remedy:   "run it as root, such as by its unit; give its container CAP_NET_ADMIN",
		NotReady: true,
	},
	{
		Code: PassFailing, Severity: SeverityError,
		Summary: "the kernel cannot be made as the config asks; the agent tries again",
		Check:   "`spanctl diff`; the log of the agent",
		Remedy:  "by the error, which is named",
	},
	{
		Code: PlanNotConverging, Severity: SeverityError,
		Summary:  "an object in the kernel does not stay as it was written",
		Check:    "`spanctl diff`; `ip monitor`",
		Remedy:   "find the program that reverts it, such as with `ip monitor`",
		NotReady: true,
		// A program that is slower at times changes it again and again: RepeatedRepairs.
		ClearsAfter: time.Minute,
	},
	{
		Code: PortTaken, Severity: SeverityError,
		Summary:  "another program has the UDP port of the config",
		Check:    "`ss -ulpn`",
		Remedy:   "end that program, or set another `listenPort`",
		NotReady: true,
	},
	{
		Code: RepeatedRepairs, Severity: SeverityError,
		Summary: "another program changes an object in the kernel again and again",
		Check:   "`spanctl get events`; `ip monitor`",
		Remedy:  "find that program, or take the mesh down",
	},
	{
		Code: RoutesShadowed, Severity: SeverityError,
		Summary:  "a rule of another program leads packets for the mesh elsewhere, or drops them",
		Milder:   "It is a warning, which leaves the machine ready, where the rule is for single ports, users or a type of service.",
		Check:    "`ip rule`; `ip route get ADDRESS ipproto tcp dport PORT`",
		Remedy:   "set `rulePriority` below that of the rule, or remove the rule",
		NotReady: true,
	},
	{
		Code: RulePriorityTaken, Severity: SeverityError,
		Summary:  "another program or mesh uses the rule priority",
		Check:    "`ip rule`; `ip -6 rule`",
		Remedy:   "set another `rulePriority`",
		NotReady: true,
	},
	{
		Code: SecondAgent, Severity: SeverityError,
		Summary:  "another agent works on the mesh's link",
		Check:    "`pgrep -a spanctl`",
		Remedy:   "stop one of the two, or give one its own link, port, mark, table and rule priority",
		NotReady: true,
	},
	{
		Code: StateUnwritable, Severity: SeverityError,
		Summary: "the state directory cannot be written: the history, a trial and the identity are not kept",
		Check:   "`df` and `findmnt -T` of the path that is named",
		Remedy:  "make room on its disk, or mount it writable",
	},
	{
		Code: TableTaken, Severity: SeverityError,
		Summary:  "another program or mesh uses the routing table",
		Check:    "`ip route show table all`",
		Remedy:   "set another `routingTable`, or remove the routes",
		NotReady: true,
	},
	{
		Code: WireGuardUnresponsive, Severity: SeverityError,
		Summary:  "the WireGuard process does not answer, or its control socket was removed",
		Check:    "`wg show` does not return, or does not name the link; `ls /var/run/wireguard`; `pgrep -af wireguard-process`",
		Remedy:   "none: the agent restarts it; without an agent, kill it",
		NotReady: true,
		// One that hangs again and again works in between.
		ClearsAfter: 10 * time.Second,
	},
}
