package trouble

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// discoveryFaults are those of the discovery service and the way to it.
var discoveryFaults = []Fault{
	{"DiscoveryUnreachable", "discovery is called where it is not", []string{"another port", "another address", "a name that nobody knows",
		"a firewall drops the calls", "a firewall refuses the calls", "its own firewall drops the calls"}, unreachableDiscovery},
	{"DiscoveryUnreachable", "discovery ends while peers are up", []string{"it is stopped", "it is killed", "its machine loses its network"}, func(s *Scene) Sign {
		s.up()
		switch s.Variant {
		case "it is stopped":
			s.Server.Terminate()
		case "it is killed":
			s.Server.Kill()
		default:
			s.Discovery.Net.SetLink(false)
		}
		return s.sign(s.On, 1, s.Endpoint(), "last heard ", "known machines stay in the mesh")
	}},
	{"DiscoveryTLS", "the certificate of discovery is not acceptable", []string{"not yet valid", "expired", "of an authority that nobody knows",
		"of another name", "there is none"}, unacceptableCertificate},
	{"DiscoveryUnpublished", "discovery has no place for this machine", []string{first}, func(s *Scene) Sign {
		url := s.at("http", "3005")
		s.Discovery.CLI.Start("discovery", "serve", "--listen", ":3005", "--insecure", "--store", "memory", "--max-affiliates", "1").
			AwaitOutput("serving discovery")
		s.Discovery.Exec.Post(url+"/sidero.discovery.server.Cluster/AffiliateUpdate",
			fmt.Sprintf(`{"clusterId":%q,"affiliateId":"first","affiliateData":"AAAA","ttl":"1800s"}`, s.Value("id"))).WantBody(s.t, http.StatusOK, "")
		s.call(url)
		s.startAll()
		sign := s.sign(s.On, 2, url, "this machine was not taken for ", "raise the limit")
		sign.Besides = []string{"SecretDiffers"} // what has its place cannot be read either
		return sign
	}},
	{"ClockOff", "the clock is off", []string{"behind", "ahead"}, func(s *Scene) Sign {
		by, where := time.Duration(45+s.rand.IntN(9000))*time.Second, " "+s.Variant
		front := by
		if s.Variant == "ahead" {
			front, where = -by, " ahead of"
		}
		s.Discovery.Exec.StartNodecmd("date-front", ":3004", s.Endpoint(), front.String())
		s.call(s.at("http", "3004"))
		s.startAll()
		return s.sign(s.On, 1, "", "this clock is ", where+" "+s.at("http", "3004"), "timedatectl set-ntp true")
	}},
}

// call makes the machine with the fault call discovery elsewhere.
func (s *Scene) call(url string) {
	s.t.Helper()
	s.On.Files.WriteConfig(strings.Replace(s.Config, s.Endpoint(), url, 1))
}

func unreachableDiscovery(s *Scene) Sign {
	url, text := s.Endpoint(), "never heard"
	switch s.Variant {
	case "another port":
		url, text = s.at("http", one(s, "3001", "80", "8080", "50000")), "connection refused for "
	case "another address":
		url = strings.Replace(url, s.Discovery.Address.String(), one(s, "172.20.0.99", "10.1.2.3"), 1)
	case "a name that nobody knows":
		url = "https://discovery.invalid/"
	case "a firewall drops the calls":
		s.Discovery.Exec.Nodecmd("block", "tcp", "3000", "in", s.On.Address.String())
	case "a firewall refuses the calls":
		s.Discovery.Exec.Nodecmd("block", "tcp", "3000", "reject", s.On.Address.String())
	default:
		s.On.Exec.Nodecmd("block", "tcp", "3000", "out")
	}
	s.call(url)
	s.startAll()
	return s.sign(s.On, 2, url, "never heard", text, "known machines stay in the mesh")
}

func unacceptableCertificate(s *Scene) Sign {
	const port = "3443"
	now := time.Now()
	from, until, text := now.Add(-time.Hour), now.Add(time.Hour), "is not trusted here"
	url := s.at("https", port)
	switch s.Variant {
	case "there is none":
		url = s.at("https", "3000")
		s.call(url)
		s.startAll()
		return s.sign(s.On, 2, url, "cluster.discovery.registries.service.endpoint")
	case "not yet valid":
		from, until, text = now.Add(24*time.Hour), now.Add(48*time.Hour), "this clock says"
	case "expired":
		from, until, text = now.Add(-48*time.Hour), now.Add(-24*time.Hour), "renew the certificate"
	case "of another name":
		text = "discovery.registries.service.endpoint"
	}
	certificate, key := s.Discovery.Files.CertificateWithin("c", from, until)
	s.call(url)
	if s.Variant == "of another name" {
		certificate, key = s.Other.Files.CertificateWithin("c", from, until)
		ca := "\ncluster: discovery: registries: service: ca: \"\"\"\n" + s.Other.Files.Read(certificate) + "\"\"\"\n"
		s.On.Files.WriteConfig(s.On.Files.Config() + ca)
	}
	s.Discovery.CLI.Start("discovery", "serve", "--listen", ":"+port, "--tls-cert", certificate, "--tls-key", key, "--store", "memory").
		AwaitOutput("serving discovery")
	s.startAll()
	return s.sign(s.On, 2, url, text)
}
