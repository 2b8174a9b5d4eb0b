package nodecmd

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	vnetlink "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/spanmesh/span/e2e/lab"
)

// Commands are the commands by name.
var Commands = map[string]lab.Subcommand{
	"delete-address": deleteAddress,
	"remove-peer":    removePeer,
	"flush-table":    flushTable,
	"delete-rules":   deleteRules,
	"monitor":        monitor,
	"peers":          listPeers,
	"address":        printAddress,
	"sockets":        listSockets,
	"processes":      listProcesses,
	"listen":         listen,
	"post":           post,
	"take":           take,
	"date-front":     dateFront,

	"signal-wireguard":   signalWireguard,
	"signal-command":     signalCommand,
	"rename-link":        renameLink,
	"move-link":          moveLink,
	"set-device":         setDevice,
	"delete-tables":      deleteTables,
	"read-only-settings": readOnlySettings,
	"disable-ipv6":       disableIPv6,
	"hide-ipv6":          hideIPv6,
	"cover":              cover,
	"uncover":            uncover,
	"fill":               fill,
	"hang":               hang,
	"revert-mtu":         revertMTU,
	"set-writable":       setWritable,
	"read-only":          readOnly,

	"lose":            lose,
	"block":           block,
	"keep-stopped":    keepStopped,
	"set-hostname":    setHostname,
	"ask":             ask,
	"own-etc":         ownEtc,
	"mount-file":      mountFile,
	"drop-large":      dropLarge,
	"ping-unbroken":   pingUnbroken,
	"dead-link":       deadLink,
	"drop-echoes":     dropEchoes,
	"drop-into-mesh":  dropIntoMesh,
	"count-echoes":    countEchoes,
	"partition":       partition,
	"forward":         forward,
	"map-ports":       mapPorts,
	"received":        received,
	"sent":            sent,
	"route":           route,
	"unroute":         unroute,
	"default-route":   defaultRoute,
	"delete-link":     deleteLink,
	"inner":           inner,
	"on-loopback":     onLoopback,
	"occupy-table":    occupyTable,
	"free-table":      freeTable,
	"occupy-priority": occupyPriority,
	"free-priority":   freePriority,
	"occupy-name":     occupyName,
	"free-name":       freeName,
	"kill-wireguard":  killWireguard,
	"unprivileged":    unprivileged,
	"without-raw":     withoutRaw,
	"set-clock":       setClock,
	"psk":             makePSK,
	"public-key":      printPublicKey,
	"phone-key":       makePhoneKey,
	"phone":           phone,
	"wireguard-go":    wireguardGo,
	"tcp-sink":        tcpSink,

	"capture-clear":     captureClear,
	"canary":            canary,
	"add-address":       addAddress,
	"flush-routes":      flushRoutes,
	"flush-ruleset":     flushRuleset,
	"delete-all-rules":  deleteAllRules,
	"delete-table":      deleteNamedTable,
	"flush-named-table": flushNamedTable,
	"shadow":            shadow,
	"unshadow":          unshadow,
	"mark-connections":  markConnections,
	"rewrite-marks":     rewriteMarks,
	"former-table":      formerTable,
	"tcp-send":          tcpSend,
}

// MeshLink is the name of the mesh's link.
const MeshLink = "kubespan"

// Ready is what a command that keeps running prints when it has begun.
const Ready = "ready\n"

// AwaitSignal prints Ready and waits for SIGTERM.
func AwaitSignal() error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, unix.SIGTERM)
	fmt.Print(Ready)
	<-stop
	return nil
}

// listen takes the UDP port args[0], and the TCP port of that number.
func listen(args []string) error {
	conn, err := net.ListenPacket("udp", ":"+args[0])
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	listener, err := net.Listen("tcp", ":"+args[0])
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()
	return AwaitSignal()
}

// listSockets prints WireGuard's control sockets.
func listSockets([]string) error {
	sockets, err := filepath.Glob("/run/wireguard/*")
	for _, s := range sockets {
		fmt.Println(s)
	}
	return err
}

// listProcesses prints the WireGuard processes of this network namespace.
func listProcesses([]string) error {
	processes, err := wireguardProcesses()
	for _, path := range processes {
		command, _ := os.ReadFile(path)
		fmt.Printf("%q\n", command)
	}
	return err
}

// wireguardProcesses returns the cmdline files of the WireGuard processes of this network
// namespace.
func wireguardProcesses() (processes []string, err error) {
	return ProcessesBeside("self", WireGuardCommand)
}

// WireGuardCommand is the command of spanctl that WireGuard's processes run.
const WireGuardCommand = "wireguard-process"

// ProcessesBeside returns the cmdline files of the processes that run a command of spanctl in the
// network namespace of a process. That is given by its name in /proc.
func ProcessesBeside(process, command string) (processes []string, err error) {
	own, err := os.Readlink(filepath.Join("/proc", process, "ns/net"))
	if err != nil {
		return nil, err
	}
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range paths {
		words, _ := os.ReadFile(path)
		if !bytes.Contains(words, []byte("\x00"+command+"\x00")) {
			continue
		}
		if namespace, _ := os.Readlink(filepath.Join(filepath.Dir(path), "ns/net")); namespace == own {
			processes = append(processes, path)
		}
	}
	return processes, err
}

// printAddress prints the address of the mesh's link.
func printAddress([]string) error {
	a, err := meshAddress()
	if err != nil {
		return err
	}
	fmt.Println(a.IP)
	return nil
}

func meshAddress() (*vnetlink.Addr, error) {
	link, err := vnetlink.LinkByName(MeshLink)
	if err != nil {
		return nil, err
	}
	addresses, err := vnetlink.AddrList(link, unix.AF_INET6)
	if err != nil {
		return nil, err
	}
	for _, a := range addresses {
		if a.IP.IsGlobalUnicast() {
			return &a, nil
		}
	}
	return nil, fmt.Errorf("no address of the mesh among %v", addresses)
}

func deleteAddress([]string) error {
	a, err := meshAddress()
	if err != nil {
		return err
	}
	link, err := vnetlink.LinkByName(MeshLink)
	if err != nil {
		return err
	}
	return vnetlink.AddrDel(link, a)
}

func deleteRules([]string) error {
	rules, err := vnetlink.RuleList(unix.AF_INET6)
	if err != nil {
		return err
	}
	for _, r := range rules {
		if r.Priority == 32500 {
			return vnetlink.RuleDel(&r)
		}
	}
	return fmt.Errorf("no rule to delete among %v", rules)
}

// removePeer removes the peer with the key args[0] from WireGuard.
func removePeer(args []string) error {
	key, err := wgtypes.ParseKey(args[0])
	if err != nil {
		return err
	}
	client, err := wgctrl.New()
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	return client.ConfigureDevice(MeshLink, wgtypes.Config{Peers: []wgtypes.PeerConfig{{PublicKey: key, Remove: true}}})
}

// listPeers prints the keys of WireGuard's peers.
func listPeers([]string) error {
	client, err := wgctrl.New()
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	device, err := client.Device(MeshLink)
	if err != nil {
		return err
	}
	for _, p := range device.Peers {
		fmt.Println(p.PublicKey)
	}
	return nil
}

// isKernelsOwn reports whether the kernel sends m by itself: a new link gets a link-local
// address after a while, and routes come with an address. In rtnetlink(7) the fourth byte
// of ifaddrmsg is the scope, the sixth of rtmsg the protocol.
func isKernelsOwn(m netlink.Message) bool {
	switch m.Header.Type {
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return m.Data[3] == unix.RT_SCOPE_LINK
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return m.Data[5] == unix.RTPROT_KERNEL
	default:
		return false
	}
}

// flushTable empties the nftables table of spanctl.
func flushTable([]string) error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	conn.FlushTable(&nftables.Table{Name: "spanctl-" + MeshLink, Family: nftables.TableFamilyINet})
	return conn.Flush()
}

// monitor prints a line for every change of links, addresses, routes, rules and nftables,
// until SIGTERM. It leaves out what the kernel does by itself.
func monitor([]string) error {
	for protocol, groups := range map[int][]uint32{
		unix.NETLINK_ROUTE: {unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
			unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE},
		unix.NETLINK_NETFILTER: {unix.NFNLGRP_NFTABLES},
	} {
		conn, err := netlink.Dial(protocol, nil)
		if err != nil {
			return err
		}
		for _, g := range groups {
			if err := conn.JoinGroup(g); err != nil {
				return err
			}
		}
		// The goroutine ends with the process.
		go func() {
			for {
				messages, err := conn.Receive()
				if err != nil {
					fmt.Println("the monitor failed:", err)
					return
				}
				for _, m := range messages {
					if protocol == unix.NETLINK_ROUTE && isKernelsOwn(m) {
						continue
					}
					fmt.Printf("netlink %d: message %#x\n", protocol, uint16(m.Header.Type))
				}
			}
		}()
	}
	return AwaitSignal()
}
