package doctor

import (
	"bufio"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/netlinkapply"
	"github.com/spanmesh/span/netlinkapply/firewall"
	"github.com/spanmesh/span/netlinkapply/userspace"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/schema"
)

// Request is what Gather looks at.
type Request struct {
	// Socket is the path of the agent's socket, AgentPID its process; 0 if none answers.
	Socket   string
	AgentPID int
	// Start says how an agent is started here.
	Start string
	// Files are those that others must not read or change.
	Files []health.File
	// Wireguard is the value of --wireguard.
	Wireguard string
	// ConfigPath is the path of the config file, Config what it says; nil if it is missing or
	// not valid, which ConfigFault explains.
	ConfigPath  string
	Config      *schema.Config
	ConfigFault string
	// Earlier is the config in force, where Config is nil and an agent has told it.
	Earlier *schema.Config
	// ConfigDenied is set where the config may not be read, SocketDenied where the socket may not
	// be used.
	ConfigDenied, SocketDenied bool
	// Silent says why the agent does not answer; the zero value if it does.
	Silent condition.Condition
	// Identity are the files of the identity that are damaged, IdentityFault why it is not known.
	// IdentityInUse is set where the agent says the same.
	Identity      []condition.Condition
	IdentityFault string
	IdentityInUse bool
	// InForce is set where the agent works by an earlier config.
	InForce bool
	// Filtered are the conditions of a firewall here that drops packets into the mesh.
	Filtered []condition.Condition
	// Mapping is how a NAT maps the listen port, as far as the agent knows.
	Mapping mesh.Mapping
	// Router are the ports that the router maps to it.
	Router []mesh.PortMapping
	Known
	// Peers asks for the ways to the peers; nil without an agent.
	Peers func(context.Context) []Peer
}

// patience is how long Gather takes at most for what it asks over the network.
const patience = 30 * time.Second

// Gather collects the facts. It changes nothing.
func Gather(ctx context.Context, r Request) *Facts {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	f := &Facts{Now: time.Now(), Socket: r.Socket, Start: r.Start, Files: r.Files, Self: process(os.Getpid()), ConfigPath: r.ConfigPath, ConfigFault: r.ConfigFault, InForce: r.InForce, Filtered: r.Filtered, Mapping: r.Mapping, Router: r.Router, Known: r.Known,
		ConfigDenied: r.ConfigDenied, SocketDenied: r.SocketDenied, Silent: r.Silent, Identity: r.Identity, IdentityFault: r.IdentityFault, IdentityInUse: r.IdentityInUse}
	var work sync.WaitGroup
	if r.AgentPID != 0 {
		agent := process(r.AgentPID)
		f.Agent = &agent
		if r.Silent.Code == "" {
			work.Go(func() { f.Peers = r.Peers(ctx) })
		}
	}
	if r.Config == nil && r.Earlier != nil {
		r.Config, f.Earlier = r.Earlier, true
	}
	if r.Config != nil {
		f.Config = settingsOf(r.Config.KubeSpan())
		if r.Config.Cluster.Discovery.Enabled {
			f.Services = gatherServices(ctx, r, &work)
			outsider, services := newOutsider(r.Config), r.Config.Cluster.Discovery.Registries.Service.URLs()
			work.Go(func() { f.Outside = outsider.look(ctx, services) })
		}
	}
	f.Host, f.Addresses = host(f.Config, r.Wireguard), localAddresses()
	work.Wait()
	return f
}

// settingsOf returns the settings that findings depend on.
func settingsOf(k *schema.KubeSpan) *Config {
	return &Config{Link: k.InterfaceName, ListenPort: k.ListenPort, RulePriority: k.RulePriority, RoutingTable: k.RoutingTable,
		RelayOffer: k.Relay.Forwarding.Offer, BlindOffer: k.Relay.Offer, NoPortMapping: !k.NAT.PortMapping, NoPunch: !k.NAT.Punch}
}

// process reads what is known of a process.
func process(pid int) Process {
	effective, known := netlinkapply.CapabilitiesOf(pid)
	return Process{PID: pid, Capabilities: effective, Known: known}
}

func host(c *Config, wireguard string) Host {
	h := Host{Wireguard: wireguard, KernelWireguard: hasModule("wireguard"), NFTables: hasModule("nf_tables"), Sysctls: map[string]string{}}
	_, err := os.Stat("/dev/net/tun")
	h.TUN = err == nil
	_, err = os.Stat("/proc/sys/net/ipv6/conf")
	h.IPv6 = err == nil
	settings := []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv6/conf/all/disable_ipv6", "ipv4/conf/all/rp_filter"}
	if c != nil {
		settings = append(settings, "ipv6/conf/"+c.Link+"/disable_ipv6", "ipv4/conf/"+c.Link+"/rp_filter")
		_, err = net.InterfaceByName(c.Link)
		h.HasLink = err == nil
		h.Ingress, err = firewall.Ingress(c.ListenPort)
		h.IngressHidden = err != nil
		h.Rules = rules()
		h.Port = netlinkapply.FindPortOwner(c.ListenPort)
		h.PortIsOurs = h.Port.PID != 0 && userspace.IsProcessOf(h.Port.PID, c.Link)
	}
	for _, path := range settings {
		if value, err := os.ReadFile(filepath.Join("/proc/sys/net", path)); err == nil {
			h.Sysctls[path] = strings.TrimSpace(string(value))
		}
	}
	return h
}

// hasModule reports whether the kernel has a module: loaded, built in, or to be loaded. Modules
// that are built in and have no parameter are found by the kernel's own list alone.
func hasModule(name string) bool {
	if _, err := os.Stat(filepath.Join("/sys/module", name)); err == nil {
		return true
	}
	if name == "nf_tables" && knowsNetfilter() || name == "wireguard" && netlinkapply.KernelHasWireGuard() {
		return true
	}
	var kernel unix.Utsname
	if err := unix.Uname(&kernel); err != nil {
		return false
	}
	for _, list := range []string{"modules.builtin", "modules.dep"} {
		if listed(filepath.Join("/lib/modules", unix.ByteSliceToString(kernel.Release[:]), list), name+".ko") {
			return true
		}
	}
	return false
}

// knowsNetfilter reports whether the kernel opens sockets of netfilter, whose tables it then has or
// loads.
func knowsNetfilter() bool {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return false
	}
	return unix.Close(fd) == nil
}

// listed reports whether a list of modules has a file.
func listed(list, file string) bool {
	f, err := os.Open(list)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		path, _, _ := strings.Cut(lines.Text(), ":")
		if name := filepath.Base(path); name == file || strings.HasPrefix(name, file+".") {
			return true
		}
	}
	return false
}

// rules reads the routing rules; none where they cannot be read.
func rules() []Rule {
	list, err := netlinkapply.RoutingRules()
	if err != nil {
		return nil
	}
	all := make([]Rule, len(list))
	for i, r := range list {
		all[i] = Rule{Family: r.Family.String(), Priority: r.Priority, Table: r.Table, Ours: r.Ours, Narrow: r.Narrow, Protocol: r.Protocol}
		if r.Destination.IsValid() {
			all[i].Destination = r.Destination.String()
		}
	}
	return all
}
