package doctor

import (
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/netlinkapply"
	"github.com/spanmesh/span/netlinkapply/firewall"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/failure"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/mesh"
)

// well returns the facts of a machine on which all is well.
func well() *Facts {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	return &Facts{
		Now: now, Socket: "/run/sock", Start: "`spanctl run`", ConfigPath: "/etc/machine.cue",
		Agent:  &Process{PID: 812, Capabilities: 1<<12 | 1<<13, Known: true},
		Config: &Config{Link: "kubespan", ListenPort: 51820, RulePriority: 32500, RoutingTable: 180, RelayOffer: true},
		Host: Host{Wireguard: "auto", KernelWireguard: true, TUN: true, NFTables: true, IPv6: true, HasLink: true,
			Sysctls: map[string]string{"ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1", "ipv6/conf/all/disable_ipv6": "0",
				"ipv6/conf/kubespan/disable_ipv6": "0", "ipv4/conf/all/rp_filter": "1", "ipv4/conf/kubespan/rp_filter": "2"},
			Rules: []Rule{{Family: "ipv4", Priority: 0, Table: 255}, {Family: "ipv4", Priority: 32500, Table: 180, Ours: true},
				{Family: "ipv4", Priority: 100, Table: 7, Narrow: true}, {Family: "ipv4", Priority: 32766, Table: 254}},
			Port: netlinkapply.PortOwner{Found: true, Kernel: true}},
		Files: []health.File{{Path: "/etc/machine.cue", Mode: 0o640}, {Path: "/var/lib/spanctl", Mode: fs.ModeDir | 0o755, Use: health.Directory}},
		Services: []Service{{URL: "https://disc.example.com/", Host: "disc.example.com", Addresses: []string{"203.0.113.1"},
			TLS: &Certificate{NotBefore: now.Add(-time.Hour), NotAfter: now.Add(1000 * time.Hour)}, Date: now, Sent: now, At: now.Add(time.Second)}},
		Peers:     []Peer{{Name: "db1", Up: true, Answers: true, Full: 1420, Passes: 1420}},
		Addresses: map[netip.Addr]string{ownAddress: "eth0", meshAddress: "kubespan"},
		Outside: []Outside{{URL: "https://disc.example.com/", Family: "IPv4", Local: ownAddress, Remote: netip.MustParseAddr("198.51.100.7"), Seen: ownAddress,
			Sent: 3, Arrived: 3, Accepted: 3}},
	}
}

var (
	ownAddress  = netip.MustParseAddr("203.0.113.9")
	meshAddress = netip.MustParseAddr("fd89:33b8::1")
	homeAddress = netip.MustParseAddr("192.168.1.5")
)

// atHome puts the machine behind a NAT.
func atHome(f *Facts) {
	f.Addresses = map[netip.Addr]string{homeAddress: "eth0"}
	f.Outside[0].Local = homeAddress
}

// damaged is a file of the identity that is not valid.
var damaged = []condition.Condition{{Code: condition.IdentityDamaged, Cause: "/var/lib/spanctl/x.yaml: is empty", Remedy: "restore it"}}

// TestJudge breaks one thing at a time.
func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name   string
		breaks func(*Facts)
		// want are the findings that are not ok.
		want []string
	}{
		{"all is well", func(*Facts) {}, nil},
		{"no agent", func(f *Facts) { f.Agent, f.Self = nil, Process{Known: true, Capabilities: 1<<12 | 1<<13} },
			[]string{"skip agent nobody answers at /run/sock; `spanctl run`", "skip mtu there is no agent to ask"}},
		{"no agent and no rights", func(f *Facts) { f.Agent, f.Self = nil, Process{Known: true} },
			[]string{"skip agent nobody", "skip rights this command has no CAP_NET_ADMIN; run as root", "skip mtu"}},
		{"the agent has no rights", func(f *Facts) { f.Agent.Capabilities = 0 }, []string{"fail rights the agent, pid 812, has no CAP_NET_ADMIN; run it as root, or by its unit"}},
		{"the agent sends no echoes", func(f *Facts) { f.Agent.Capabilities = 1 << 12 }, []string{"warn rights the agent, pid 812, has no CAP_NET_RAW"}},
		{"the agent is hidden", func(f *Facts) { f.Agent.Known = false }, []string{"skip rights the capabilities of the agent, pid 812 cannot be read"}},
		{"a config that is not valid", func(f *Facts) { f.Config, f.ConfigFault = nil, "/etc/machine.cue:5:7: mtu: 900" },
			[]string{"fail config /etc/machine.cue:5:7: mtu: 900; `spanctl validate -f /etc/machine.cue`", "skip rp_filter", "skip forwarding", "skip rules",
				"skip port", "skip dns", "skip proxy", "skip tls", "skip clock", "skip discovery", "skip udp there is no config", "skip nat there is no config"}},
		{"no config", func(f *Facts) { f.Config, f.Services, f.Outside = nil, nil, nil },
			[]string{"fail config /etc/machine.cue is missing; `spanctl apply -f FILE`", "skip rp_filter", "skip forwarding", "skip rules",
				"skip port", "skip dns", "skip proxy", "skip tls", "skip clock", "skip discovery", "skip udp", "skip nat"}},
		{"no config, and one in force", func(f *Facts) { f.Config, f.InForce = nil, true },
			[]string{"warn config /etc/machine.cue is missing; the one before stays in force; `spanctl apply -f FILE`", "skip rp_filter", "skip forwarding", "skip rules",
				"skip port", "skip dns", "skip proxy", "skip tls", "skip clock", "skip discovery", "skip udp", "skip nat"}},
		{"no WireGuard", func(f *Facts) { f.Host.KernelWireguard, f.Host.TUN = false, false }, []string{"fail wireguard neither"}},
		{"no WireGuard in the kernel", func(f *Facts) { f.Host.KernelWireguard, f.Host.Wireguard = false, "kernel" }, []string{"fail wireguard the kernel has none"}},
		{"no TUN", func(f *Facts) { f.Host.TUN, f.Host.Wireguard = false, "userspace" }, []string{"fail wireguard"}},
		{"no nftables", func(f *Facts) { f.Host.NFTables = false }, []string{"fail modules the kernel has no nftables"}},
		{"no IPv6", func(f *Facts) { f.Host.IPv6 = false }, []string{"fail ipv6 the kernel runs without it"}},
		{"IPv6 is off on the link", func(f *Facts) { f.Host.Sysctls["ipv6/conf/kubespan/disable_ipv6"] = "1" },
			[]string{"fail ipv6 is disabled on kubespan; `sysctl -w net.ipv6.conf.kubespan.disable_ipv6=0`"}},
		{"IPv6 is off for links to come", func(f *Facts) {
			delete(f.Host.Sysctls, "ipv6/conf/kubespan/disable_ipv6")
			f.Host.Sysctls["ipv6/conf/all/disable_ipv6"] = "1"
		}, []string{"warn ipv6 is disabled on all links"}},
		{"a strict reverse path", func(f *Facts) { f.Host.Sysctls["ipv4/conf/kubespan/rp_filter"] = "0" },
			[]string{"fail rp_filter drops packets out of kubespan; `sysctl -w net.ipv4.conf.kubespan.rp_filter=2`"}},
		{"no link", func(f *Facts) { f.Host.HasLink, f.Host.Port = false, netlinkapply.PortOwner{} }, []string{"skip rp_filter there is no link kubespan"}},
		{"no forwarding", func(f *Facts) {
			delete(f.Host.Sysctls, "ipv6/conf/all/forwarding")
			f.Host.Sysctls["ipv4/ip_forward"] = "0"
		},
			[]string{"warn forwarding relay.forwarding.offer is set, and forwarding of IPv6 and IPv4 is off; `sysctl -w net.ipv6.conf.all.forwarding=1 net.ipv4.ip_forward=1`"}},
		{"no relay", func(f *Facts) { f.Config.RelayOffer = false }, []string{"skip forwarding relay.forwarding.offer is not set"}},
		{"a blind relay without forwarding", func(f *Facts) {
			f.Config.RelayOffer, f.Config.BlindOffer, f.Offered.Port = false, true, 51821
			f.Host.Sysctls["ipv6/conf/all/forwarding"] = "0"
		}, []string{"skip forwarding relay.offer needs no forwarding"}},
		{"a blind relay that also forwards", func(f *Facts) { f.Config.RelayOffer, f.Config.BlindOffer, f.Offered.Port = false, true, 51821 }, nil},
		{"a config that is not valid, and one in force", func(f *Facts) { f.ConfigFault, f.InForce, f.Earlier = "/etc/machine.cue:5:7: mtu: 900", true, true },
			[]string{"warn config /etc/machine.cue:5:7: mtu: 900; the one before stays in force, and the checks below are of that one; `spanctl validate"}},
		{"no config, and an agent that has not noticed", func(f *Facts) { f.Earlier = true },
			[]string{"fail config /etc/machine.cue is missing; the checks below are of the one in force; `spanctl apply"}},
		{"a rule in front", func(f *Facts) {
			f.Host.Rules = append(f.Host.Rules, Rule{Family: "ipv6", Priority: 100, Table: 77}, Rule{Family: "ipv4", Priority: 101, Table: 77, Destination: "10.0.0.0/8"},
				Rule{Family: "ipv4", Priority: 10, Protocol: unix.IPPROTO_TCP})
		}, []string{"warn rules ipv6 rule 100 takes all packets to table 77 before the mesh's rule 32500; set rulePriority below 100, or remove that rule",
			"warn rules ipv4 rule 101 takes all packets to 10.0.0.0/8 to table 77", "warn rules ipv4 rule 10 takes all TCP packets away"}},
		{"the port is another program's", func(f *Facts) { f.Host.Port = netlinkapply.PortOwner{Found: true, PID: 7, Name: "dnsmasq"} },
			[]string{"fail port UDP 51820 is taken by dnsmasq, pid 7; end it, or set listenPort"}},
		{"the port is the kernel's, and there is no link", func(f *Facts) { f.Host.HasLink = false },
			[]string{"skip rp_filter", "fail port UDP 51820 is taken by the kernel"}},
		{"the port is somebody's", func(f *Facts) { f.Host.Port.Hidden = true }, []string{"skip port UDP 51820 is in use"}},
		{"the port is ours", func(f *Facts) {
			f.Host.Port, f.Host.PortIsOurs = netlinkapply.PortOwner{Found: true, PID: 7, Name: "another-name"}, true
		}, nil},
		{"the port is that of a program of our name", func(f *Facts) { f.Host.Port = netlinkapply.PortOwner{Found: true, PID: 7, Name: "spanctl"} },
			[]string{"fail port UDP 51820 is taken by spanctl, pid 7"}},
		{"the port is nobody's", func(f *Facts) { f.Host.Port = netlinkapply.PortOwner{} }, []string{"warn port UDP 51820 is nobody's"}},
		{"files are readable", func(f *Facts) { f.Files[0].Mode, f.Files[1].Mode = 0o644, fs.ModeDir|0o777 },
			[]string{"warn files /etc/machine.cue has mode 0644: others may read it; `chmod 600 /etc/machine.cue`; then change the secret",
				"warn files /var/lib/spanctl has mode 0777: others may replace its files; `chmod o-w /var/lib/spanctl`"}},
		{"no name", func(f *Facts) {
			f.Services[0].LookupFault, f.Services[0].Fault = "no such host disc.example.com", "no such host disc.example.com"
		},
			[]string{"fail dns no such host disc.example.com", "fail discovery https://disc.example.com/: no such host disc.example.com"}},
		{"a proxy that does not answer", func(f *Facts) {
			f.Services[0].Proxy, f.Services[0].Fault, f.Services[0].Date = "http://p:3128", "connection refused", time.Time{}
		},
			[]string{"warn proxy http://p:3128 is used for https://disc.example.com/, which does not answer; add disc.example.com to NO_PROXY, or check the proxy",
				"skip clock", "fail discovery https://disc.example.com/: connection refused"}},
		{"not yet valid", func(f *Facts) { f.Services[0].TLS.NotBefore = f.Now.Add(time.Hour) },
			[]string{"fail tls the certificate of https://disc.example.com/ is valid from 2026-11-28T13:00:00Z, this clock says 2026-11-28T12:00:00Z; set the clock, or renew it"}},
		{"no longer valid", func(f *Facts) { f.Services[0].TLS.NotAfter = f.Now.Add(-time.Hour) }, []string{"fail tls the certificate of https://disc.example.com/ was valid until"}},
		{"soon no longer valid", func(f *Facts) { f.Services[0].TLS.NotAfter = f.Now.Add(time.Hour) }, []string{"warn tls"}},
		{"not trusted", func(f *Facts) {
			f.Services[0].TLS.Fault = failure.Failure{Class: failure.UnknownAuthority, Text: "nobody who is trusted here has signed the certificate"}
		}, []string{"fail tls https://disc.example.com/: nobody who is trusted here has signed the certificate; set cluster.discovery.registries.service.ca to the certificate of the authority"}},
		{"a certificate for another name", func(f *Facts) {
			f.Services[0].TLS.Fault = failure.Failure{Class: failure.WrongName, Text: "the certificate is for a, not for b"}
		}, []string{"fail tls https://disc.example.com/: the certificate is for a, not for b; use a name of the certificate in cluster.discovery.registries.service.endpoint, or make"}},
		{"an agent that hangs", func(f *Facts) {
			f.Silent, f.Peers = condition.Condition{Code: condition.NoAgent, Cause: "the agent has not answered:\n  it hangs", Remedy: "`systemctl restart spanctl`"}, nil
		}, []string{"fail agent the agent has not answered: it hangs, pid 812; `systemctl restart spanctl`", "skip mtu there is no agent to ask"}},
		{"a user without rights", func(f *Facts) {
			f.Agent, f.Config, f.Services, f.Outside, f.Self = nil, nil, nil, nil, Process{Known: true}
			f.SocketDenied, f.ConfigDenied, f.IdentityFault = true, true, "this user may not read the state directory /var/lib/spanctl"
		}, []string{"skip agent this user may not use the agent's socket /run/sock; run as root", "skip config this user may not read /etc/machine.cue; run as root",
			"skip identity this user may not read the state directory /var/lib/spanctl; run as root", "skip rights", "skip rp_filter", "skip forwarding", "skip rules",
			"skip port", "skip dns", "skip proxy", "skip tls", "skip clock", "skip discovery", "skip mtu the agent may not be asked; run as root", "skip udp", "skip nat"}},
		{"a damaged identity that is not in use yet", func(f *Facts) { f.Identity = damaged },
			[]string{"warn identity /var/lib/spanctl/x.yaml: is empty; the agent works with what it has read before, until it starts again; restore it"}},
		{"a damaged identity in use", func(f *Facts) { f.Identity, f.IdentityInUse = damaged, true }, []string{"fail identity /var/lib/spanctl/x.yaml: is empty; restore it"}},
		{"a damaged identity without an agent", func(f *Facts) {
			f.Identity, f.Agent, f.Self = damaged, nil, Process{Known: true, Capabilities: 1<<12 | 1<<13}
		},
			[]string{"skip agent nobody", "fail identity /var/lib/spanctl/x.yaml: is empty; restore it", "skip mtu"}},
		{"a chain at ingress drops", func(f *Facts) {
			f.Outside[0].Accepted, f.Outside[0].Arrived, f.Peers[0].Up = 0, 0, false
			f.Host.Ingress = []firewall.IngressChain{{Name: "netdev a b"}, {Name: "netdev host in", Drops: true}}
		}, []string{"fail udp none of 3 datagrams to UDP 51820 of 203.0.113.9 arrive here: the chain netdev host in of this machine drops them at ingress; " +
			"let UDP 51820 through there: `nft list chain netdev host in`"}},
		{"a chain at ingress may drop", func(f *Facts) {
			f.Outside[0].Accepted, f.Outside[0].Arrived, f.Peers[0].Up = 0, 0, false
			f.Host.Ingress = []firewall.IngressChain{{Name: "netdev a b"}}
		}, []string{"fail udp none of 3 datagrams to UDP 51820 of 203.0.113.9 arrive here: the router or a firewall in front of this machine drops them, or that of https://disc.example.com/, " +
			"or an ingress chain of this machine (`nft list ruleset`); open UDP"}},
		{"ahead", func(f *Facts) { f.Services[0].Date = f.Now.Add(-2 * time.Hour) }, []string{"warn clock this clock is 2h ahead of https://disc.example.com/; `timedatectl set-ntp true`"}},
		{"behind", func(f *Facts) { f.Services[0].Date = f.Now.Add(2 * time.Hour) }, []string{"warn clock this clock is 2h behind https://disc.example.com/"}},
		{"one of two services is off", func(f *Facts) {
			f.Services = append(f.Services, f.Services[0])
			f.Services[1].Date = f.Now.Add(-time.Hour)
		}, nil},
		{"a time that came late", func(f *Facts) { f.Services[0].At = f.Now.Add(time.Minute) }, []string{"skip clock https://disc.example.com/ has told no time, or too late"}},
		{"a black hole", func(f *Facts) { f.Peers[0].Passes = 1392 }, []string{"warn mtu 1420 bytes to db1 are lost, 1392 pass; set machine.network.kubespan.mtu: 1392 here and at db1"}},
		{"no IPv6 fits", func(f *Facts) { f.Peers[0].Passes = 0 }, []string{"warn mtu 1420 bytes to db1 are lost, and so are 1280"}},
		{"a firewall into the mesh", func(f *Facts) {
			f.Filtered = []condition.Condition{{Code: condition.TunnelFiltered, Cause: "packets to db1 are not permitted into kubespan", Remedy: "let the output chains pass them"}}
		}, []string{"warn tunnel packets to db1 are not permitted into kubespan; let the output chains pass them"}},
		{"a mute peer", func(f *Facts) { f.Peers[0].Answers = false }, []string{"skip mtu db1 does not answer echoes"}},
		{"the firewall here drops, and some peer is not up", func(f *Facts) {
			f.Outside[0].Accepted = 0
			f.Peers = append(f.Peers, Peer{Name: "db2", Fault: "the peer is down"})
		}, []string{"skip mtu db2", "warn udp 3 of 3 datagrams to UDP 51820 of 203.0.113.9 arrive here, and this machine's firewall drops them; open it here: `ufw allow 51820/udp`, " +
			"`firewall-cmd --permanent --add-port=51820/udp`, or `udp dport 51820 accept` in the input chain of nftables"}},
		{"it drops, and all peers are up", func(f *Facts) { f.Outside[0].Accepted = 0 }, nil},
		{"it drops, and no peer is up", func(f *Facts) { f.Outside[0].Accepted, f.Peers[0].Up = 0, false }, []string{"fail udp 3 of 3 datagrams"}},
		{"it drops, and the peers are up by a relay", func(f *Facts) { f.Outside[0].Accepted, f.Peers[0].Up, f.Peers[0].Relayed = 0, false, true },
			[]string{"warn udp 3 of 3 datagrams"}},
		{"it drops, and there are no peers", func(f *Facts) { f.Outside[0].Accepted, f.Peers = 0, nil }, []string{"skip mtu there are no peers", "warn udp 3 of 3 datagrams"}},
		{"a firewall in front drops", func(f *Facts) { f.Outside[0].Accepted, f.Outside[0].Arrived, f.Peers[0].Up = 0, 0, false },
			[]string{"fail udp none of 3 datagrams to UDP 51820 of 203.0.113.9 arrive here: the router or a firewall in front of this machine drops them, or that of https://disc.example.com/; " +
				"open UDP 51820 there, such as in the security group of the cloud"}},
		{"a router with NAT drops", func(f *Facts) {
			atHome(f)
			f.Outside[0].Accepted, f.Outside[0].Arrived, f.Peers[0].Up = 0, 0, false
		}, []string{"fail udp none of 3 datagrams to UDP 51820 of 203.0.113.9 arrive here: the router or a firewall in front of this machine drops them, or that of https://disc.example.com/; " +
			"forward UDP 51820 on the router to this machine"}},
		{"a router that drops what it does not map", func(f *Facts) {
			atHome(f)
			f.Outside[0].Accepted, f.Outside[0].Arrived, f.Peers[0].Up = 0, 0, false
			f.Router = []mesh.PortMapping{{Endpoint: netip.AddrPortFrom(ownAddress, 40001), Protocol: "PCP"}}
		}, nil},
		{"a NAT that forwards", atHome, nil},
		{"a NAT with a port for each peer, and a server that hides addresses", func(f *Facts) {
			atHome(f)
			f.Mapping = mesh.Mapping{Address: ownAddress, Ports: []uint16{1000, 2000}}
			f.Outside[0].Seen = netip.Addr{}
		}, []string{"skip nat"}},
		{"a kind that STUN has told, and a server without Reflect", func(f *Facts) {
			f.Mapping = mesh.Mapping{Kind: mesh.NATDependent, Address: ownAddress}
			f.Outside[0] = Outside{URL: "https://disc.example.com/", Fault: noReflect}
		}, []string{"skip udp", "skip nat"}},
		{"a firewall with a limit", func(f *Facts) { f.Outside[0].Accepted = 1 }, []string{"warn udp 3 of 3 datagrams to UDP 51820 of 203.0.113.9 arrive here, and this machine's firewall lets 1 through"}},
		{"a network that loses", func(f *Facts) { f.Outside[0].Accepted, f.Outside[0].Arrived = 2, 2 }, []string{"warn udp 2 of 3 datagrams"}},
		{"a server that cannot send", func(f *Facts) { f.Outside[0].Sent, f.Outside[0].Arrived, f.Outside[0].Accepted = 0, 0, 0 },
			[]string{"skip udp https://disc.example.com/ could send nothing"}},
		{"a server that hides addresses", func(f *Facts) { f.Outside[0].Seen = netip.Addr{} }, []string{"skip nat https://disc.example.com/ does not tell the address that it sees"}},
		{"a server behind a proxy that it does not know of", func(f *Facts) { f.Outside[0].Seen = netip.MustParseAddr("10.0.0.1") },
			[]string{"skip udp https://disc.example.com/ sees 10.0.0.1", "skip nat https://disc.example.com/ sees 10.0.0.1"}},
		{"a server without Reflect", func(f *Facts) { f.Outside[0] = Outside{URL: "https://disc.example.com/", Fault: noReflect} },
			[]string{"skip udp https://disc.example.com/ has no Reflect: it is another program or version, or runs with --reflect=false", "skip nat https://disc.example.com/ has no Reflect"}},
		{"a server on this machine", func(f *Facts) { f.Outside[0].Remote = ownAddress },
			[]string{"skip udp https://disc.example.com/ is on this machine", "skip nat https://disc.example.com/ is on this machine"}},
		{"a server in the mesh", func(f *Facts) { f.Outside[0].Local = meshAddress },
			[]string{"skip udp https://disc.example.com/ is reached through the mesh", "skip nat https://disc.example.com/ is reached through the mesh"}},
		{"no counters", func(f *Facts) { f.Outside = []Outside{{Fault: "there is no mesh here with UDP 51820"}} },
			[]string{"skip udp there is no mesh here with UDP 51820", "skip nat there is no mesh here with UDP 51820"}},
		{"a peer that is down", func(f *Facts) { f.Peers[0].Fault = "the peer is down" }, []string{"skip mtu db1: the peer is down"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := well()
			c.breaks(f)
			findings := Judge(f)
			var got []string
			for _, one := range findings {
				if one.Grade != OK {
					got = append(got, string(one.Grade)+" "+one.String())
				}
			}
			if !slices.EqualFunc(got, c.want, strings.HasPrefix) {
				t.Errorf("found:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
			want := 0
			for _, line := range c.want {
				switch line[:4] {
				case "warn":
					want = max(want, 1)
				case "fail":
					want = 2
				}
			}
			if status := Status(findings); status != want {
				t.Errorf("the status is %d, want %d", status, want)
			}
		})
	}
}

// TestTranslation has the kinds of NAT.
func TestTranslation(t *testing.T) {
	const behind = "nat https://disc.example.com/ sees 203.0.113.9, and this machine has 192.168.1.5: there is a NAT (IPv4); "
	for _, c := range []struct {
		name    string
		changes func(*Facts)
		want    string
	}{
		{"none", func(*Facts) {}, "nat none: https://disc.example.com/ sees this machine's own address 203.0.113.9 (IPv4)"},
		{"nobody has told", atHome, behind + "no peer has told another port than 51820 (`harvestExtraEndpoints` makes them tell), and no two servers of STUN"},
		{"of another address", func(f *Facts) {
			atHome(f)
			f.Mapping = mesh.Mapping{Address: netip.MustParseAddr("198.51.100.1"), Ports: []uint16{1, 2}}
		}, behind + "no peer has told"},
		{"one port", func(f *Facts) {
			atHome(f)
			f.Mapping = mesh.Mapping{Address: ownAddress, Ports: []uint16{40000}}
		}, behind + "UDP 51820 is seen at its port 40000; whether everybody sees it there"},
		{"one port for everybody", func(f *Facts) {
			atHome(f)
			f.Mapping = mesh.Mapping{Kind: mesh.NATIndependent, Address: ownAddress, Ports: []uint16{40000}}
		}, behind + "UDP 51820 is 203.0.113.9:40000 for everybody, which is announced"},
		{"another port for each destination", func(f *Facts) {
			atHome(f)
			f.Mapping = mesh.Mapping{Kind: mesh.NATDependent, Address: ownAddress}
		}, behind + "it gives UDP 51820 another port for each destination, so that peers behind such a NAT need a relay"},
		{"the router maps a port", func(f *Facts) {
			atHome(f)
			f.Mapping = mesh.Mapping{Kind: mesh.NATDependent, Address: ownAddress}
			f.Router = []mesh.PortMapping{{Endpoint: netip.MustParseAddrPort("203.0.113.9:40001"), Protocol: "PCP"}}
		}, behind + "the router maps 203.0.113.9:40001 to UDP 51820 (PCP), which is announced"},
		{"the router maps a port behind another NAT", func(f *Facts) {
			atHome(f)
			f.Router = []mesh.PortMapping{{Endpoint: netip.MustParseAddrPort("[2001:db8::1]:1"), Protocol: "PCP"}, {Endpoint: netip.MustParseAddrPort("100.64.0.9:40001"), Protocol: "NAT-PMP"}}
			f.BehindNAT = map[mesh.PortMapping]bool{f.Router[1]: true}
		}, behind + "the router maps 100.64.0.9:40001 to UDP 51820 (NAT-PMP), which is announced; another NAT is in front of the router"},
		{"another port for each peer", func(f *Facts) {
			atHome(f)
			f.Mapping = mesh.Mapping{Address: ownAddress, Ports: []uint16{1000, 2000}}
		}, behind + "it gives UDP 51820 another port for each peer, so that peers behind such a NAT need a relay"},
	} {
		f := well()
		c.changes(f)
		if found := translation(f); len(found) != 1 || !strings.HasPrefix(found[0].String(), c.want) || found[0].Grade != OK {
			t.Errorf("%s: %v, want %s", c.name, found, c.want)
		}
	}
}

// TestWays has what an agent knows of port mappings, relays and the endpoints of peers.
func TestWays(t *testing.T) {
	mapped := mesh.PortMapping{Endpoint: netip.MustParseAddrPort("100.64.0.9:40001"), Protocol: "NAT-PMP"}
	router := netip.MustParseAddr("192.168.1.1")
	for _, c := range []struct {
		name    string
		changes func(*Facts)
		want    []string
	}{
		{"nothing", func(*Facts) {}, nil},
		{"no agent", func(f *Facts) { f.Agent, f.Router = nil, []mesh.PortMapping{mapped} }, nil},
		{"mapped", func(f *Facts) { f.Router = []mesh.PortMapping{mapped} }, []string{"ok mapping the router maps 100.64.0.9:40001 to UDP 51820 (NAT-PMP), which is announced"}},
		{"mapped behind a NAT", func(f *Facts) {
			f.Router, f.BehindNAT = []mesh.PortMapping{mapped}, map[mesh.PortMapping]bool{mapped: true}
		},
			[]string{"ok mapping the router maps 100.64.0.9:40001 to UDP 51820 (NAT-PMP), which is announced; another NAT is in front of the router, so that only machines behind that one reach it; " +
				"make the router a bridge, or forward a UDP port there to 100.64.0.9:40001"}},
		{"refused, and no answer", func(f *Facts) {
			f.RouterFaults = []mesh.PortMappingFault{{Router: router, Refused: true, Text: "PCP: refused: not authorized"}, {Router: router, Text: "PCP: no answer"}}
		}, []string{"ok mapping the router 192.168.1.1 refuses to map UDP 51820: PCP: refused: not authorized; allow it there, or forward UDP 51820 there",
			"ok mapping none: the router 192.168.1.1 maps no ports: PCP: no answer"}},
		{"relays", func(f *Facts) {
			f.NotJoined = []condition.Condition{{Code: condition.RelayNotJoined, Subject: "https://full.example.com/", Cause: "no room", Remedy: "raise it"}}
			f.Relays = []Relay{{Name: "one", Registered: true}, {Name: "two", Registered: true, OverTCP: true, Ports: []string{"192.0.2.2:51821"}}, {Name: "three", Ports: []string{"192.0.2.3:51821"}}}
		}, []string{"warn relay that of https://full.example.com/ was not joined: no room; raise it", "ok relay one is reached by UDP",
			"ok relay two is reached over TCP, since its UDP port (192.0.2.2:51821) does not answer: a lost packet holds up those behind it; let UDP out to it",
			"warn relay three does not answer by UDP (192.0.2.3:51821), and is not reached over TCP; let UDP out to it"}},
		{"a relay itself", func(f *Facts) { f.Offered = health.OfferedRelay{Port: 51821, Members: 3, Registered: 2} },
			[]string{"ok relay this machine is one for others: UDP 51821, 2 of 3 machines registered"}},
		{"a relay that does not serve", func(f *Facts) {
			f.Config.BlindOffer = true
			f.NotServing = []condition.Condition{{Code: condition.RelayNotServing, Cause: "the UDP port 51821 is taken", Remedy: "end the program"}}
		}, []string{"warn relay the UDP port 51821 is taken; end the program"}},
		{"a relay that is not started yet", func(f *Facts) { f.Config.BlindOffer = true }, []string{"skip relay relay.offer is set, and the agent has not started one yet"}},
		{"a relay without an agent", func(f *Facts) { f.Agent, f.Config.BlindOffer = nil, true }, []string{"skip relay relay.offer is set, and there is no agent to ask"}},
		{"turned off", func(f *Facts) {
			f.Config.NoPortMapping, f.Config.NoPunch = true, true
			f.Paths = make([]Path, 1)
		}, []string{"skip mapping nat.portMapping is false", "skip path nat.punch is false"}},
		{"turned off, without an agent", func(f *Facts) { f.Agent, f.Config.NoPortMapping, f.Config.NoPunch = nil, true, true }, nil},
		{"paths", func(f *Facts) {
			f.Paths = []Path{
				{Label: "db1", Endpoint: "203.0.113.7:4000", Punched: true, Candidates: []Candidate{{Endpoint: "203.0.113.7:4000", Outcome: "in use"}, {Endpoint: "10.0.0.7:51820", Outcome: "no answer", TriedAt: f.Now.Add(-12 * time.Second)}}},
				{Label: "db2", Why: "both NATs use another port for each destination", NextRound: f.Now.Add(30 * time.Second),
					Candidates: []Candidate{{Endpoint: "203.0.113.8:51820", Outcome: "not tried", Why: "both NATs"}, {Endpoint: "10.0.0.8:51820", Outcome: "answered", RTT: "11ms"}}},
			}
		}, []string{"ok path direct to db1: 203.0.113.7:4000, punched; 203.0.113.7:4000 in use, 10.0.0.7:51820 no answer 12s ago",
			"ok path none to db2: both NATs use another port for each destination; 203.0.113.8:51820 not tried (both NATs), 10.0.0.8:51820 answered in 11ms; next in 30s"}},
		{"many peers", func(f *Facts) { f.Paths = make([]Path, 10) }, append(slices.Repeat([]string{"ok path none to"}, 8), "skip path 2 more peers; `spanctl get paths -o yaml`")},
	} {
		f := well()
		c.changes(f)
		var got []string
		for _, found := range slices.Concat(mappings(f), relays(f), directPaths(f)) {
			got = append(got, string(found.Grade)+" "+found.String())
		}
		if !slices.EqualFunc(got, c.want, strings.HasPrefix) {
			t.Errorf("%s:\n%s\nwant:\n%s", c.name, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
}

// TestJudgeNothing has no facts at all: nothing is well, and nothing breaks.
func TestJudgeNothing(t *testing.T) {
	for _, f := range Judge(&Facts{}) {
		if f.Check == "" || f.What == "" || f.Grade == Warn {
			t.Errorf("a finding without facts: %+v", f)
		}
	}
}
