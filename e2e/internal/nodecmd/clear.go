package nodecmd

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	vnetlink "github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/lab"
)

// Canary is the payload of the packets that must not be seen in clear.
const Canary = "spanctl-canary-must-be-encrypted"

// canaryPort is a UDP port that canaries are sent to, and echoed from.
const canaryPort = 7777

// captureClear counts the frames with the canary on the machine's link to the lab's network, in
// both directions, until SIGTERM. Then it prints the number, and a line for each kind.
func captureClear([]string) error {
	link, err := vnetlink.LinkByName(lab.Link)
	if err != nil {
		return err
	}
	const allProtocols = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8
	// Without a protocol: until it is bound, the socket would receive from all links.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: allProtocols, Ifindex: link.Attrs().Index}); err != nil {
		return err
	}
	// The buffer holds what arrives while this process waits for a processor.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20); err != nil {
		return err
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}); err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, unix.SIGTERM)
	fmt.Print(Ready)
	count, kinds, buffer := 0, map[string]int{}, make([]byte, 1<<16)
	var end time.Time // not zero once it is near
	for end.IsZero() || time.Now().Before(end) {
		n, _, err := unix.Recvfrom(fd, buffer, 0)
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR), errors.Is(err, unix.ENETDOWN):
		case err != nil:
			return err
		case bytes.Contains(buffer[:n], []byte(Canary)):
			count++
			kinds[describe(buffer[:n])]++
		}
		select {
		case <-stop:
			end = time.Now().Add(drainTime)
		default:
		}
	}
	return printClear(count, kinds)
}

// drainTime is how long a capture still counts after SIGTERM, for what is in its buffer.
const drainTime = 200 * time.Millisecond

func printClear(count int, kinds map[string]int) error {
	fmt.Println(count)
	for kind, n := range kinds {
		fmt.Printf("%d %s\n", n, kind)
	}
	return nil
}

// describe returns the ends of an IP packet and its protocol.
func describe(packet []byte) string {
	switch {
	case len(packet) >= 20 && packet[0]>>4 == 4:
		return fmt.Sprintf("%v to %v protocol %d", net.IP(packet[12:16]), net.IP(packet[16:20]), packet[9])
	case len(packet) >= 40 && packet[0]>>4 == 6:
		return fmt.Sprintf("%v to %v protocol %d", net.IP(packet[8:24]), net.IP(packet[24:40]), packet[6])
	default:
		return "not IP"
	}
}

// canary sends canaries by UDP, and echoes those that come, until SIGTERM. Its arguments are the
// time between two canaries to an address, and the addresses.
func canary(args []string) error {
	interval, err := time.ParseDuration(args[0])
	if err != nil {
		return err
	}
	conn, err := net.ListenUDP("udp", &net.UDPAddr{Port: canaryPort})
	if err != nil {
		return err
	}
	var targets []netip.AddrPort
	for _, arg := range args[1:] {
		address, err := netip.ParseAddr(arg)
		if err != nil {
			return err
		}
		targets = append(targets, netip.AddrPortFrom(address, canaryPort))
	}
	var group errgroup.Group
	done := make(chan struct{})
	group.Go(func() error { return Echo(conn) })
	group.Go(func() error {
		// One socket for all sends from a port of its own, so that echoes are not echoed.
		out, err := net.ListenUDP("udp", nil)
		if err != nil {
			return err
		}
		defer func() { _ = out.Close() }()
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			for _, to := range targets {
				// The kernel may refuse: that is one that is not in clear.
				_, _ = out.WriteToUDPAddrPort([]byte(Canary), to)
			}
			select {
			case <-done:
				return nil
			case <-tick.C:
			}
		}
	})
	err = AwaitSignal()
	close(done)
	return errors.Join(err, conn.Close(), group.Wait())
}

// Echo sends back what comes, until conn is closed.
func Echo(conn *net.UDPConn) error {
	buffer := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buffer)
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err == nil:
			_, _ = conn.WriteToUDPAddrPort(buffer[:n], from)
		}
	}
}

// addAddress gives the lab's link the address args[0].
func addAddress(args []string) error {
	link, err := vnetlink.LinkByName(lab.Link)
	if err != nil {
		return err
	}
	prefix, err := netip.ParsePrefix(args[0])
	if err != nil {
		return err
	}
	return vnetlink.AddrAdd(link, lab.Address(prefix))
}

// flushRuleset removes all nftables tables of the machine.
func flushRuleset([]string) error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	conn.FlushRuleset()
	return conn.Flush()
}

// flushRoutes removes all routes of the mesh's table.
func flushRoutes([]string) error {
	var all error
	for _, f := range []int{unix.AF_INET, unix.AF_INET6} {
		routes, err := vnetlink.RouteListFiltered(f, &vnetlink.Route{Table: 180}, vnetlink.RT_FILTER_TABLE)
		all = errors.Join(all, err)
		for _, r := range routes {
			all = errors.Join(all, vnetlink.RouteDel(&r))
		}
	}
	return all
}

// deleteAllRules removes the mesh's rules.
func deleteAllRules([]string) error {
	var all error
	for _, f := range []int{unix.AF_INET, unix.AF_INET6} {
		rules, err := vnetlink.RuleList(f)
		all = errors.Join(all, err)
		for _, r := range rules {
			if r.Priority == 32500 {
				all = errors.Join(all, vnetlink.RuleDel(&r))
			}
		}
	}
	return all
}

// deleteNamedTable deletes the nftables table args[0].
func deleteNamedTable(args []string) error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	conn.DelTable(&nftables.Table{Name: args[0], Family: nftables.TableFamilyINet})
	return conn.Flush()
}

// flushNamedTable flushes the nftables table args[0].
func flushNamedTable(args []string) error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	conn.FlushTable(&nftables.Table{Name: args[0], Family: nftables.TableFamilyINet})
	return conn.Flush()
}

// shadow puts a rule in front of the mesh's, for both families: all packets take a table with
// routes over the lab's link.
func shadow([]string) error {
	link, err := LabLink(&vnetlink.Handle{})
	if err != nil {
		return err
	}
	const table = 101
	var all error
	for _, everything := range []string{"0.0.0.0/0", "::/0"} {
		network, err := vnetlink.ParseIPNet(everything)
		if err != nil {
			return err
		}
		rule := vnetlink.NewRule()
		rule.Priority, rule.Table, rule.Family = 100, table, unix.AF_INET
		if network.IP.To4() == nil {
			rule.Family = unix.AF_INET6
		}
		all = errors.Join(all, vnetlink.RouteAdd(&vnetlink.Route{LinkIndex: link.Attrs().Index, Dst: network, Table: table}), vnetlink.RuleAdd(rule))
	}
	return all
}

// unshadow undoes shadow.
func unshadow([]string) error {
	var all error
	for _, f := range []int{unix.AF_INET, unix.AF_INET6} {
		rule := vnetlink.NewRule()
		rule.Priority, rule.Table, rule.Family = 100, 101, f
		all = errors.Join(all, vnetlink.RuleDel(rule))
	}
	return all
}

// markConnections marks connections that arrive on the lab's link with the mark 1, and their
// replies too, as multi-WAN setups do. A rule for that whole mark leads to the table 77, which
// sends to nobody but over the lab's link.
func markConnections([]string) error {
	link, err := vnetlink.LinkByName(lab.Link)
	if err != nil {
		return err
	}
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	name := make([]byte, 16)
	copy(name, lab.Link)
	one := binaryutil.NativeEndian.PutUint32(1)
	table := conn.AddTable(&nftables.Table{Name: "multiwan", Family: nftables.TableFamilyINet})
	in := conn.AddChain(&nftables.Chain{Table: table, Name: "in", Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityMangle})
	conn.AddRule(&nftables.Rule{Table: table, Chain: in, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name},
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitNEW), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
		&expr.Immediate{Register: 1, Data: one},
		&expr.Ct{Key: expr.CtKeyMARK, SourceRegister: true, Register: 1},
	}})
	out := conn.AddChain(&nftables.Chain{Table: table, Name: "out", Type: nftables.ChainTypeRoute,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityMangle})
	conn.AddRule(&nftables.Rule{Table: table, Chain: out, Exprs: []expr.Any{
		&expr.Ct{Key: expr.CtKeyMARK, Register: 1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
		&expr.Ct{Key: expr.CtKeyMARK, Register: 1},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: 1},
	}})
	if err := conn.Flush(); err != nil {
		return err
	}
	everything, err := vnetlink.ParseIPNet("0.0.0.0/0")
	if err != nil {
		return err
	}
	rule := vnetlink.NewRule()
	whole := uint32(0xffffffff)
	rule.Priority, rule.Table, rule.Family, rule.Mark, rule.Mask = 200, 77, unix.AF_INET, 1, &whole
	return errors.Join(vnetlink.RouteAdd(&vnetlink.Route{LinkIndex: link.Attrs().Index, Dst: everything, Table: 77}), vnetlink.RuleAdd(rule))
}

// formerTable copies the mesh's table to the name that it had in earlier versions, and deletes both
// of its tables.
func formerTable([]string) error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	now := &nftables.Table{Name: "spanctl-" + MeshLink, Family: nftables.TableFamilyINet}
	former := conn.AddTable(&nftables.Table{Name: "spanctl", Family: nftables.TableFamilyINet})
	for name, kind := range map[string]nftables.SetDatatype{"routed4": nftables.TypeIPAddr, "routed6": nftables.TypeIP6Addr} {
		elements, err := conn.GetSetElements(&nftables.Set{Table: now, Name: name, KeyType: kind, Interval: true})
		if err != nil {
			return err
		}
		if err := conn.AddSet(&nftables.Set{Table: former, Name: name, KeyType: kind, Interval: true}, elements); err != nil {
			return err
		}
	}
	chains, err := conn.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return err
	}
	for _, chain := range chains {
		if chain.Table.Name != now.Name {
			continue
		}
		rules, err := conn.GetRules(now, chain)
		if err != nil {
			return err
		}
		chain.Table = former
		conn.AddChain(chain)
		for _, rule := range rules {
			conn.AddRule(&nftables.Rule{Table: former, Chain: chain, Exprs: writable(rule.Exprs), UserData: rule.UserData})
		}
	}
	if err := conn.Flush(); err != nil {
		return err
	}
	conn.DelTable(now)
	conn.DelTable(&nftables.Table{Name: "spanguard-" + MeshLink, Family: nftables.TableFamilyINet})
	return conn.Flush()
}

// writable returns expressions that were read from the kernel as they are written to it.
func writable(expressions []expr.Any) []expr.Any {
	for _, e := range expressions {
		switch e := e.(type) {
		case *expr.Lookup:
			e.SetID = 0 // of the other table
		case *expr.Ct:
			e.SourceRegister = e.SourceRegister || e.Register == 0 // the library does not read it
			e.Register = 1
		}
	}
	return expressions
}
