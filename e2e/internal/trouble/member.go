package trouble

import (
	"fmt"

	"github.com/spanmesh/span/e2e/internal/harness"
)

// memberFaults are those of the cluster and of what machines advertise.
var memberFaults = []Fault{
	{"SecretDiffers", "the secret is wrong here", []string{first, later}, func(s *Scene) Sign {
		if s.Variant == later {
			s.up()
		}
		s.On.Files.WriteConfig(WithOtherSecret(s.Config))
		s.startAll()
		return s.sign(s.On, 2, "", "none of the 2 other machines can be read", "copy cluster.secret from one that works")
	}},
	{"SecretDiffersThere", "the secret is wrong elsewhere", []string{first, later}, func(s *Scene) Sign {
		if s.Variant == later {
			s.up()
		}
		s.On.Files.WriteConfig(WithOtherSecret(s.Config))
		s.startAll()
		s.On.API.AwaitIdentity()
		return s.sign(s.Other, 1, s.On.Files.NodeID(), "cannot be read", "correct cluster.secret there")
	}},
	{"NoOtherMembers", "nobody else is in the cluster", []string{"another cluster ID", "a config of its own", "the others never started"}, func(s *Scene) Sign {
		switch s.Variant {
		case "another cluster ID":
			s.On.Files.WriteConfig(WithOtherID(s.Config))
			s.startAll()
		case "a config of its own":
			s.On.Files.WriteConfig(s.On.CLI.Run("gen", "config", "--with-kubespan", "--discovery-endpoint", s.Endpoint(), "-o", "-"))
			s.startAll()
		default:
			s.On.Agent.Start()
		}
		return s.sign(s.On, 1, "", "nobody else is in cluster ", "gen config")
	}},
	{"EndpointRefused", "a machine announces endpoints that nobody can use", []string{"127.0.0.1:9", "[ff02::1]:9", "255.255.255.255:9"}, func(s *Scene) Sign {
		s.edit(s.On, fmt.Sprintf("extraAnnouncedEndpoints: [%q]", s.Variant))
		s.startAll()
		return s.sign(s.Other, 1, anySubject, s.Variant+" is ", "extraAnnouncedEndpoints")
	}},
	{"AddressOnLink", "a peer has an address of a network here", []string{first, later}, func(s *Scene) Sign {
		s.On.Exec.Nodecmd("inner", "192.168.9.1/24")
		if s.Variant == later {
			s.up()
		}
		s.edit(s.Other, `addresses: ["192.168.9.2/24"]`)
		s.startAll()
		return s.sign(s.On, 1, anySubject, "192.168.9.2/32 is in 192.168.9.0/24", "routeConnectedNetworks")
	}},
	{"NetworkCoversLAN", "a peer's network covers the LAN", []string{"10.0.0.0/8", "10.7.0.0/16"}, func(s *Scene) Sign {
		s.On.Exec.Nodecmd("inner", "10.7.3.1/24")
		s.edit(s.Other, fmt.Sprintf("advertisedNetworks: [%q]", s.Variant))
		s.startAll()
		return s.sign(s.On, 1, anySubject, "does not take 10.7.3.0/24", "routeConnectedNetworks")
	}},
	{"AddressRefused", "a peer advertises a default route", []string{"0.0.0.0/0", "::/0"}, func(s *Scene) Sign {
		s.edit(s.Other, fmt.Sprintf("advertisedNetworks: [%q]", s.Variant))
		s.startAll()
		return s.sign(s.On, 1, anySubject, "is a default route", "filters.peerNetworks")
	}},
	{"AddressOverlap", "two machines advertise one network", []string{first, later}, func(s *Scene) Sign {
		if s.Variant == later {
			s.up()
		}
		for _, machine := range []*harness.Machine{s.On, s.Other} {
			machine.Exec.Nodecmd("inner", "10.99.0.1/24")
			s.edit(machine, `advertisedNetworks: ["10.99.0.0/24"]`)
		}
		s.startAll()
		return s.sign(s.Third, 0, "10.99.0.0/24", "claim it")
	}},
}
