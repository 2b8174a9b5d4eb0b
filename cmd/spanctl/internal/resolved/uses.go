package resolved

import (
	"slices"
	"strings"
)

// stubs are the addresses at which systemd-resolved answers DNS queries.
var stubs = []string{"127.0.0.53", "127.0.0.54"}

// Uses reports whether programs of a machine ask systemd-resolved for names, as nsswitch.conf(5) and
// resolv.conf(5) have it: by its module of nss, or by its stub.
func Uses(nsswitch, resolvConf string) bool {
	for line := range strings.Lines(nsswitch) {
		line, _, _ = strings.Cut(line, "#")
		if database, services, found := strings.Cut(line, ":"); found && strings.TrimSpace(database) == "hosts" && slices.Contains(strings.Fields(services), "resolve") {
			return true
		}
	}
	for line := range strings.Lines(resolvConf) {
		if words := strings.Fields(line); len(words) >= 2 && words[0] == "nameserver" && slices.Contains(stubs, words[1]) {
			return true
		}
	}
	return false
}
