package support

import (
	"encoding/json"
	"net/netip"
	"net/url"
	"strings"
)

// Facts are what a Scrubber knows beyond what texts look like.
type Facts struct {
	// Secrets are left out in every mode.
	Secrets []string
	// Names are those of machines, Keys public keys, IDs those of machines and clusters, Links those of
	// network links.
	Names, Keys, IDs, Links []string
	// Words are no names, whatever they stand for.
	Words []string
}

// The fields of JSON, in lower case without "_", that have the name of a machine, a public key, an
// ID, an address of a server, or a secret.
var (
	nameFields = set("hostname", "nodename", "label", "relay", "relays", "owner", "peer", "node", "host")
	// aboutFields have a name, or what else something is about.
	aboutFields  = set("subject", "object")
	keyFields    = set("publickey", "key", "publickeybefore", "before", "after")
	idFields     = set("nodeid", "affiliateid", "nodeidbefore", "clusterid", "cluster")
	urlFields    = set("endpoint", "endpoints", "url", "server")
	secretFields = set("secret", "privatekey", "presharedkey", "token", "password", "clientkeydata", "bearertoken", "authorization")
)

func set(words ...string) map[string]bool {
	m := map[string]bool{}
	for _, w := range words {
		m[w] = true
	}
	return m
}

// Learn adds what a document of JSON says. It ignores what is none.
func (f *Facts) Learn(text []byte) {
	var value any
	if json.Unmarshal(text, &value) == nil {
		f.learn("", value)
	}
}

func (f *Facts) learn(field string, value any) {
	switch v := value.(type) {
	case map[string]any:
		f.learnResource(v)
		for name, below := range v {
			f.learn(strings.ToLower(strings.ReplaceAll(name, "_", "")), below)
		}
	case []any:
		for _, item := range v {
			f.learn(field, item)
		}
	case string:
		f.learnText(field, v)
	}
}

// learnResource learns from the ID of a resource, which is a name, a key or an ID by its type, and
// from the ID of a cluster.
func (f *Facts) learnResource(v map[string]any) {
	metadata, _ := v["metadata"].(map[string]any)
	id, _ := metadata["id"].(string)
	switch metadata["type"] {
	case "Members":
		f.learnText("label", id)
	case "Affiliates":
		f.learnText("nodeid", id)
	case "KubeSpanPeerSpecs", "KubeSpanPeerStatuses", "KubeSpanEndpoints":
		f.learnText("key", id)
	}
	if cluster, is := v["cluster"].(map[string]any); is {
		id, _ := cluster["id"].(string)
		f.learnText("clusterid", id)
	}
}

var (
	isKey  = pattern(`^[A-Za-z0-9+/]{43}=$`)
	isID   = pattern(`^[A-Za-z0-9+/_-]{20,64}={0,2}$`)
	isName = pattern(`^[^\s"{}<>][^"{}<>\n]*$`)
	isWord = pattern(`^[\pL\pN][\pL\pN._-]*$`)
)

// passwordOf returns the password of a URL as it is written there; "" for any other text.
func passwordOf(text string) string {
	scheme, rest, found := strings.Cut(text, "://")
	if !found || strings.ContainsAny(scheme, " /") {
		return ""
	}
	authority, _, _ := strings.Cut(rest, "/")
	at := strings.LastIndexByte(authority, '@')
	if at < 0 {
		return ""
	}
	_, password, _ := strings.Cut(authority[:at], ":")
	return password
}

func (f *Facts) learnText(field, text string) {
	switch {
	case text == "" || text == Hidden:
	case secretFields[field]:
		f.Secrets = append(f.Secrets, text)
	case passwordOf(text) != "":
		f.Secrets = append(f.Secrets, passwordOf(text))
	case keyFields[field]:
		if isKey().MatchString(text) {
			f.Keys = append(f.Keys, text)
		}
	case idFields[field]:
		if isID().MatchString(text) {
			f.IDs = append(f.IDs, text)
		}
	case urlFields[field]:
		if u, err := url.Parse(text); err == nil && u.Scheme != "" {
			f.addName(u.Hostname())
		}
	case nameFields[field], aboutFields[field] && isWord().MatchString(text):
		f.addName(text)
	}
}

// addName adds the name of a machine. Addresses are none, and neither are texts that begin no name.
func (f *Facts) addName(name string) {
	if _, err := netip.ParseAddr(name); err == nil || !isName().MatchString(name) || isKey().MatchString(name) {
		return
	}
	if _, err := netip.ParsePrefix(name); err == nil {
		return
	}
	f.Names = append(f.Names, name)
}
