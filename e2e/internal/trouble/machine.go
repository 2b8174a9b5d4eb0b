package trouble

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// machineFaults are those of a machine, its files and its agent.
var machineFaults = []Fault{
	{"NotPermitted", "the agent has no right to configure the network", []string{first}, func(s *Scene) Sign {
		cmd, err := s.On.Subcommand(context.WithoutCancel(s.t.Context()), "unprivileged", s.On.Binary(), "run")
		s.fault(err)
		s.On.Agent.StartCommand(cmd)
		s.startAll()
		return s.sign(s.On, 2, "", "CAP_NET_ADMIN is missing")
	}},
	{"FilesReadable", "others may read or change files", []string{"the config", "the key", "the state directory"}, func(s *Scene) Sign {
		s.up()
		mode := one[os.FileMode](s, 0o644, 0o604, 0o666, 0o606)
		path := s.On.Config()
		switch s.Variant {
		case "the key":
			path = filepath.Join(s.On.StateDir(), "kubespan-identity.yaml")
		case "the state directory":
			path, mode = s.On.StateDir(), 0o777
		}
		s.fault(os.Chmod(path, mode))
		return s.sign(s.On, 1, path, path+" has mode 0", "chmod ")
	}},
	{"IdentityDamaged", "a file of the identity is damaged", []string{"kubespan-identity.yaml", "node-identity.yaml"}, func(s *Scene) Sign {
		s.up()
		file := filepath.Join(s.On.StateDir(), s.Variant)
		damage := one(s, "", "\x00\x00\x00\x00", "privateKey: x", "nodeId: [")
		if s.rand.IntN(2) == 0 { // while it runs, or for its next start
			s.fault(os.WriteFile(file, []byte(damage), 0o600))
			s.On.CLI.Try("reload")
		} else {
			s.On.Agent.Terminate()
			s.fault(os.WriteFile(file, []byte(damage), 0o600))
			s.On.Agent.Start()
		}
		return s.sign(s.On, 2, anySubject, file+": ", "restore it")
	}},
	{"StateUnwritable", "the state directory cannot be written", []string{"the disk is full", "the disk is read-only"}, func(s *Scene) Sign {
		s.On.Exec.Nodecmd("cover", s.On.StateDir(), "512")
		s.up()
		text := "read-only file system"
		if s.Variant == "the disk is full" {
			s.On.Exec.Nodecmd("fill", s.On.StateDir(), "true")
			text = "no space left on device"
		} else {
			s.On.CLI.Run("down") // there are files open on it
			s.On.Agent.Terminate()
			s.On.Exec.Nodecmd("set-writable", s.On.StateDir(), "false")
			s.On.Agent.Start()
		}
		return s.sign(s.On, 2, s.On.StateDir(), text)
	}},
	{"NetworkDown", "the machine has no network", []string{first, later, "its link has no address"}, func(s *Scene) Sign {
		switch s.Variant {
		case later:
			s.up()
			fallthrough
		case first:
			s.On.Net.SetLink(false)
			s.startAll()
			return s.sign(s.On, 2, "", "no link connects this machine to others", "eth0 is down")
		}
		OnLink(s.t, s.On, func(h *netlink.Handle, link netlink.Link) error {
			addresses, err := h.AddrList(link, unix.AF_INET)
			if err != nil {
				return err
			}
			return h.AddrDel(link, &addresses[0])
		})
		s.startAll()
		return s.sign(s.On, 2, "", "no link connects this machine to others", "eth0 has no address")
	}},
	{"NoAgent", "no agent answers", []string{"it was never started", "it is stopped", "it is killed"}, func(s *Scene) Sign {
		texts := []string{"nobody answers at " + s.On.Socket()}
		switch s.Variant {
		case "it was never started":
			s.Other.Agent.Start()
			s.Third.Agent.Start()
			texts = append(texts, "; there is no mesh")
		case "it is stopped":
			s.up()
			s.On.Agent.Terminate()
			texts = append(texts, "the link kubespan with 2 peers is left as it is")
		default:
			s.up()
			s.On.Agent.Kill()
			texts = append(texts, "the link kubespan with 2 peers is left as it is")
		}
		sign := s.sign(s.On, 3, "", texts...)
		sign.Silent = true
		return sign
	}},
	{"NoAgent", "the agent hangs", []string{later}, func(s *Scene) Sign {
		s.up()
		s.fault(unix.Kill(s.On.Agent.PID(), unix.SIGSTOP))
		sign := s.sign(s.On, 3, "", "has not answered within ", "systemctl restart spanctl")
		sign.Silent = true
		return sign
	}},
	{"AgentStuck", "the disk of the agent does not answer", []string{later}, func(s *Scene) Sign {
		s.up()
		s.On.Exec.StartNodecmd("hang", s.On.StateDir())
		s.On.CLI.Start("reload")
		return s.sign(s.On, 2, "", "the agent has worked on one pass since then", "restart the agent")
	}},
	{"RelayNotForwarding", "a relay does not forward", []string{"IPv6 and IPv4", "IPv6", "IPv4"}, func(s *Scene) Sign {
		SetForwarding(s.t, s.On, s.Variant == "IPv4", s.Variant == "IPv6")
		s.edit(s.On, "relay: forwarding: offer: true")
		s.startAll()
		return s.sign(s.On, 1, "", "forwarding of "+s.Variant+" is off", "sysctl -w ")
	}},
	{"TooManyEndpoints", "the machine has more addresses than discovery takes", []string{first, later}, func(s *Scene) Sign {
		if s.Variant == later {
			s.up()
		}
		n := 65 + s.rand.IntN(60)
		OnLink(s.t, s.On, func(h *netlink.Handle, link netlink.Link) error { return AddAddresses(h, link, 1, n) })
		s.startAll()
		return s.sign(s.On, 1, anySubject, "64 of ", "filters.")
	}},
	{"HostnameRepeated", "two machines have one hostname", []string{first, later}, func(s *Scene) Sign {
		if s.Variant == later {
			s.up()
		}
		s.On.Exec.Nodecmd("set-hostname", s.Other.Name)
		s.startAll()
		return s.sign(s.Third, 1, s.Other.Name, "2 machines have this hostname")
	}},
	{"IdentityCloned", "a disk was cloned with its state", []string{"seen by the original", "seen by the copy"}, func(s *Scene) Sign {
		s.Other.Agent.Start()
		s.Third.Agent.Start()
		s.Other.API.AwaitPeersUp(1)
		s.On.Files.CopyState(s.Other)
		s.On.Agent.Start()
		at, other := s.On, s.Other
		if s.Variant == "seen by the original" {
			at, other = other, at
		}
		return s.sign(at, 2, other.Name, "another machine, "+other.Name+" ("+other.Address.String()+"), ", "spanctl reset-identity --yes")
	}},
	{"AddressClash", "two machines have one MAC", []string{"seen by one of them", "seen by another"}, func(s *Scene) Sign {
		s.up()
		s.On.Agent.Terminate()
		s.On.CLI.Run("down")
		file := func(name string) string { return filepath.Join(name, "node-identity.yaml") }
		theirs, err := os.ReadFile(file(s.Other.StateDir()))
		s.fault(err)
		own, err := os.ReadFile(file(s.On.StateDir()))
		s.fault(err)
		_, mac, _ := strings.Cut(string(theirs), "mac: ")
		id, _, _ := strings.Cut(string(own), "mac: ")
		s.fault(os.WriteFile(file(s.On.StateDir()), []byte(id+"mac: "+mac), 0o600))
		s.On.Agent.Start()
		at := s.Third
		if s.Variant == "seen by one of them" {
			at = s.On
		}
		return s.sign(at, 1, s.Other.Net.MeshAddress().String(), s.Other.Name)
	}},
}
