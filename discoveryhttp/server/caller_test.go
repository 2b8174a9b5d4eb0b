package server

import (
	"net/http"
	"net/netip"
	"testing"
)

func TestAddressOfTheCaller(t *testing.T) {
	c := callers{[]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}}
	const proxy = "10.0.0.1:5000"
	for name, want := range map[string]struct {
		peer, real string
		forwarded  []string
		address    string
	}{
		"no proxy":                    {"203.0.113.1:5000", "", nil, "203.0.113.1"},
		"no proxy, but headers":       {"203.0.113.1:5000", "192.0.2.1", []string{"192.0.2.2"}, "203.0.113.1"},
		"IPv6 with a zone":            {"[fe80::1%eth0]:5000", "", nil, "fe80::1"},
		"mapped IPv4":                 {"[::ffff:203.0.113.1]:5000", "", nil, "203.0.113.1"},
		"no address":                  {"@", "192.0.2.1", nil, "invalid IP"},
		"proxy without headers":       {proxy, "", nil, "10.0.0.1"},
		"X-Real-IP":                   {proxy, "192.0.2.1", nil, "192.0.2.1"},
		"both":                        {proxy, "192.0.2.1", []string{"198.51.100.1, 192.0.2.1"}, "192.0.2.1"},
		"one by the caller":           {proxy, "192.0.2.1", []string{"192.0.2.2"}, "10.0.0.1"},
		"a malformed one beside it":   {proxy, "192.0.2.1", []string{"unknown"}, "192.0.2.1"},
		"X-Real-IP of another proxy":  {proxy, "10.0.0.9", []string{"192.0.2.2, 10.0.0.9"}, "192.0.2.2"},
		"malformed X-Real-IP":         {proxy, "nonsense", []string{"192.0.2.2"}, "192.0.2.2"},
		"X-Forwarded-For":             {proxy, "", []string{"192.0.2.2"}, "192.0.2.2"},
		"IPv6 proxy":                  {"[fd00::1]:5000", "", []string{"2001:db8::1"}, "2001:db8::1"},
		"the last that is no proxy":   {proxy, "", []string{"192.0.2.1, 192.0.2.2, 10.0.0.2"}, "192.0.2.2"},
		"several headers":             {proxy, "", []string{"192.0.2.1", "192.0.2.2", "10.0.0.2"}, "192.0.2.2"},
		"garbage before it":           {proxy, "", []string{"<script>, 192.0.2.2"}, "192.0.2.2"},
		"garbage":                     {proxy, "", []string{"unknown"}, "10.0.0.1"},
		"garbage after it":            {proxy, "", []string{"192.0.2.2, unknown"}, "10.0.0.1"},
		"garbage before another":      {proxy, "", []string{"unknown, 10.0.0.2"}, "10.0.0.1"},
		"an empty element":            {proxy, "", []string{"192.0.2.2,"}, "10.0.0.1"},
		"only proxies":                {proxy, "", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.1"},
		"with a port":                 {proxy, "", []string{"192.0.2.2:1234"}, "192.0.2.2"},
		"IPv6 with a port":            {proxy, "", []string{"[2001:db8::1]:1234"}, "2001:db8::1"},
		"IPv6 in brackets":            {proxy, "", []string{"[2001:db8::1]"}, "2001:db8::1"},
		"mapped IPv4 behind a proxy":  {proxy, "", []string{"::ffff:192.0.2.2"}, "192.0.2.2"},
		"too large a number":          {proxy, "", []string{"192.0.2.256"}, "10.0.0.1"},
		"spaces":                      {proxy, "", []string{"  192.0.2.2  "}, "192.0.2.2"},
		"a control character":         {proxy, "", []string{"192.0.2.2\x00"}, "10.0.0.1"},
		"nothing but separators":      {proxy, "", []string{",,,"}, "10.0.0.1"},
		"X-Real-IP names a proxy":     {proxy, "10.0.0.9", nil, "10.0.0.9"},
		"X-Real-IP of two addresses":  {proxy, "192.0.2.1, 192.0.2.2", nil, "10.0.0.1"},
		"an X-Real-IP with its port":  {proxy, "192.0.2.1:99", nil, "192.0.2.1"},
		"a network instead of a host": {proxy, "", []string{"192.0.2.0/24"}, "10.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			header := http.Header{}
			if want.real != "" {
				header.Set("X-Real-Ip", want.real)
			}
			for _, f := range want.forwarded {
				header.Add("X-Forwarded-For", f)
			}
			if got := c.of(want.peer, header); got.String() != want.address {
				t.Errorf("the caller is %s, want %s", got, want.address)
			}
		})
	}
}
