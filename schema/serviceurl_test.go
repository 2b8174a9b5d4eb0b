package schema

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestPasswordOfAURLIsNotShown(t *testing.T) {
	for url, want := range map[ServiceURL]string{
		"https://disc.example.com/":                "https://disc.example.com/",
		"https://me@disc.example.com/":             "https://me@disc.example.com/",
		"https://me:hunter22@disc.example.com/x?y": "https://me:xxxxx@disc.example.com/x?(hidden)",
		"https://disc.example.com/?key=hunter22#f": "https://disc.example.com/?(hidden)",
		"https://disc.example.com/#hunter22":       "https://disc.example.com/#(hidden)",
		"https://[::1?key=hunter22":                Hidden,
		"https://me:hunter22@[::1":                 Hidden,
		"":                                         "",
	} {
		text, err := json.Marshal(ServiceRegistry{Endpoint: url, Endpoints: []ServiceURL{url}})
		if err != nil || strings.Contains(string(text), "hunter22") || strings.Count(string(text), want) < 2 {
			t.Errorf("%s, %v", text, err)
		}
		for _, verb := range []string{"%s", "%v", "%+v", "%#v", "%q", "%x"} {
			if got := fmt.Sprintf(verb, url); got != want {
				t.Errorf("%s of %d bytes prints %q; want %q", verb, len(url), got, want)
			}
		}
		var config Config
		config.Cluster.Discovery.Registries.Service.Endpoint = url
		revealed, err := json.Marshal(config.Revealed())
		if err != nil || !strings.Contains(string(revealed), string(url)) {
			t.Errorf("revealed, it is %s, %v", revealed, err)
		}
	}
}
