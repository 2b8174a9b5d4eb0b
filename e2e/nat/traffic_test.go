package nat

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spanmesh/span/e2e/internal/nodecmd"
	"github.com/spanmesh/span/e2e/lab"
)

// commands are what this program does inside of a node.
var commands = map[string]lab.Subcommand{"talk": talk, "reach": reach, "say": say}

// talkPort is the UDP port at which machines answer each other.
const talkPort = 7777

// talkEvery is the time between two texts to a machine.
const talkEvery = time.Second

// talk sends the text args[0] to the addresses in the file args[1], which may grow, and sends each text
// that comes back to its sender, until SIGTERM.
func talk(args []string) error {
	conn, err := net.ListenUDP("udp6", &net.UDPAddr{Port: talkPort})
	if err != nil {
		return err
	}
	go func() { // ends with the program
		buffer := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buffer)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil && from.Port() != talkPort {
				_, _ = conn.WriteToUDPAddrPort(buffer[:n], from)
			}
		}
	}()
	out, err := net.ListenUDP("udp6", nil)
	if err != nil {
		return err
	}
	go func() {
		for ; ; <-time.After(talkEvery) {
			targets, _ := os.ReadFile(args[1])
			for _, target := range strings.Fields(string(targets)) {
				if to, err := netip.ParseAddr(target); err == nil {
					// The kernel may refuse while the peer is down.
					_, _ = out.WriteToUDPAddrPort([]byte(args[0]), netip.AddrPortFrom(to, talkPort))
				}
			}
		}
	}()
	return nodecmd.AwaitSignal()
}

// reach sends the text args[0] to the addresses args[2:] until each has sent it back, for a time of
// args[1] at most. Then it prints the addresses that have not.
func reach(args []string) error {
	limit, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	missing := map[netip.Addr]bool{}
	for _, arg := range args[2:] {
		missing[netip.MustParseAddr(arg)] = true
	}
	conn, err := net.ListenUDP("udp6", nil)
	if err != nil {
		return err
	}
	buffer := make([]byte, 1500)
	for end := time.Now().Add(limit); len(missing) > 0 && time.Now().Before(end); {
		for to := range missing {
			_, _ = conn.WriteToUDPAddrPort([]byte(args[0]), netip.AddrPortFrom(to, talkPort))
		}
		if err := conn.SetReadDeadline(time.Now().Add(talkEvery)); err != nil {
			return err
		}
		for len(missing) > 0 {
			n, from, err := conn.ReadFromUDPAddrPort(buffer)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err == nil && bytes.Equal(buffer[:n], []byte(args[0])) {
				delete(missing, from.Addr())
			}
		}
	}
	for to := range missing {
		fmt.Println(to)
	}
	return nil
}

// say sends the text args[0] to the address args[1], port args[2].
func say(args []string) error {
	port, err := strconv.ParseUint(args[2], 10, 16)
	if err != nil {
		return err
	}
	conn, err := net.Dial("udp", netip.AddrPortFrom(netip.MustParseAddr(args[1]), uint16(port)).String())
	if err != nil {
		return err
	}
	_, err = conn.Write([]byte(args[0]))
	return errors.Join(err, conn.Close())
}
