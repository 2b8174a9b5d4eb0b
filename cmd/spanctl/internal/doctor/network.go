package doctor

import (
	"fmt"
	"strings"
	"time"

	"github.com/spanmesh/span/reconciler/health"
)

// expiresSoon is how long before its end a certificate should be renewed.
const expiresSoon = 7 * 24 * time.Hour

// endpointSetting is the setting with the URL of a service.
const endpointSetting = "cluster.discovery.registries.service.endpoint"

// perService judges each discovery service.
func perService(f *Facts, check string, judge func(*Service) []Finding) []Finding {
	if f.Config == nil {
		return noConfig(check)
	}
	if len(f.Services) == 0 {
		return one(Skip, check, "the config has no discovery service", "")
	}
	var found []Finding
	for i := range f.Services {
		found = append(found, judge(&f.Services[i])...)
	}
	return found
}

func names(f *Facts) []Finding {
	return perService(f, "dns", func(s *Service) []Finding {
		if s.LookupFault != "" {
			return one(Fail, "dns", s.LookupFault, "check the name, and the name servers in /etc/resolv.conf")
		}
		return one(OK, "dns", s.Host+" is "+strings.Join(s.Addresses, ", "), "")
	})
}

func proxies(f *Facts) []Finding {
	return perService(f, "proxy", func(s *Service) []Finding {
		switch {
		case s.Proxy == "":
			return one(OK, "proxy", "none for "+s.URL, "")
		case s.Fault != "":
			return one(Warn, "proxy", s.Proxy+" is used for "+s.URL+", which does not answer", "add "+s.Host+" to NO_PROXY, or check the proxy")
		default:
			return one(OK, "proxy", s.Proxy+" is used for "+s.URL, "")
		}
	})
}

func certificates(f *Facts) []Finding {
	return perService(f, "tls", func(s *Service) []Finding {
		c := s.TLS
		switch {
		case c == nil && strings.HasPrefix(s.URL, "http:"):
			return one(Skip, "tls", s.URL+" is without TLS", "")
		case c == nil:
			return one(Skip, "tls", s.URL+" has shown no certificate", "")
		case f.Now.Before(c.NotBefore):
			return one(Fail, "tls", fmt.Sprintf("the certificate of %s is valid from %s, this clock says %s", s.URL, stamp(c.NotBefore), stamp(f.Now)), "set the clock, or renew it")
		case f.Now.After(c.NotAfter):
			return one(Fail, "tls", fmt.Sprintf("the certificate of %s was valid until %s, this clock says %s", s.URL, stamp(c.NotAfter), stamp(f.Now)), "renew it, or set the clock")
		case c.Fault.Class != "":
			return one(Fail, "tls", s.URL+": "+c.Fault.Text, health.TLSRemedy(c.Fault.Class, endpointSetting, false))
		case c.NotAfter.Sub(f.Now) < expiresSoon:
			return one(Warn, "tls", fmt.Sprintf("the certificate of %s is valid until %s", s.URL, stamp(c.NotAfter)), "renew it")
		default:
			return one(OK, "tls", fmt.Sprintf("the certificate of %s is valid until %s", s.URL, stamp(c.NotAfter)), "")
		}
	})
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// clocks judges this clock as the agent does: it is right if it agrees with that of one service.
func clocks(f *Facts) []Finding {
	var known []health.Session
	for i := range f.Services {
		s := &f.Services[i]
		if skew, is := health.Skew(s.Date, s.Sent, s.At); is {
			known = append(known, health.Session{URL: s.URL, State: health.Connected, Skew: skew, SkewAt: s.At})
		}
	}
	var found []Finding
	for _, c := range health.JudgeClock(known, false) {
		found = append(found, Finding{Warn, "clock", c.Cause, c.Remedy})
	}
	off := len(found) > 0
	return append(found, perService(f, "clock", func(s *Service) []Finding {
		skew, is := health.Skew(s.Date, s.Sent, s.At)
		switch {
		case !is:
			return one(Skip, "clock", s.URL+" has told no time, or too late", "")
		case off:
			return nil
		case health.IsOff(skew):
			return one(OK, "clock", "agrees with another service than "+s.URL, "")
		default:
			return one(OK, "clock", "agrees with "+s.URL, "")
		}
	})...)
}

func services(f *Facts) []Finding {
	return perService(f, "discovery", func(s *Service) []Finding {
		if s.Fault != "" {
			return one(Fail, "discovery", s.URL+": "+s.Fault, "check address, port and firewall, and that `spanctl discovery serve` runs there")
		}
		return one(OK, "discovery", s.URL+" answers", "")
	})
}

// paths judges which packets may enter the mesh, and which pass to each peer.
func paths(f *Facts) []Finding {
	switch {
	case f.SocketDenied:
		return one(Skip, "mtu", "the agent may not be asked", runAsRoot)
	case f.Agent == nil || f.Silent.Code != "":
		return one(Skip, "mtu", "there is no agent to ask", "")
	}
	var found []Finding
	for _, c := range f.Filtered {
		found = append(found, Finding{Warn, "tunnel", c.Cause, c.Remedy})
	}
	for _, p := range f.Peers {
		c, lossy := health.PathMTU{Peer: p.Name, Full: p.Full, Passes: p.Passes}.Condition()
		switch {
		case p.Fault != "":
			found = append(found, Finding{Skip, "mtu", p.Name + ": " + p.Fault, ""})
		case !p.Answers:
			found = append(found, Finding{Skip, "mtu", p.Name + " does not answer echoes", ""})
		case lossy:
			found = append(found, Finding{Warn, "mtu", c.Cause, c.Remedy})
		default:
			found = append(found, Finding{OK, "mtu", fmt.Sprintf("%d bytes pass to %s", p.Full, p.Name), ""})
		}
	}
	if len(f.Peers) == 0 {
		found = append(found, Finding{Skip, "mtu", "there are no peers", ""})
	}
	return found
}
