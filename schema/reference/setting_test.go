package reference

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/internal/field"
	"github.com/spanmesh/span/schema/load"
)

// every calls f for each setting.
func every(t *testing.T, f func(s *Setting)) {
	t.Helper()
	root, err := Settings()
	if err != nil {
		t.Fatal(err)
	}
	var walk func(s *Setting)
	walk = func(s *Setting) {
		f(s)
		for i := range s.Fields {
			walk(&s.Fields[i])
		}
	}
	walk(root)
}

// needed are settings that an example needs beside it.
func needed(s *Setting) string {
	const phone = "cluster: discovery: registries: static: peers: [{"
	switch {
	case strings.HasPrefix(s.Path, "cluster.discovery.registries.static.peers[]."):
		other := map[string]string{"name": `name: "phone", `, "publicKey": `publicKey: "NzW8oeIH5rJyY5lefD9WRoHWWRr/Q6DwsDjMX+xKjT4=", `}
		delete(other, s.Name())
		return phone + other["name"] + other["publicKey"] + "...}, ...]\n"
	case s.Path == "cluster.discovery.enabled":
		return "cluster: {id: \"NzW8oeIH5rJyY5lefD9WRoHWWRr/Q6DwsDjMX+xKjT4=\", secret: file: \"/secret\"}\n"
	case s.Path == "machine.network.kubespan.enabled":
		return "cluster: {discovery: enabled: true, id: \"NzW8oeIH5rJyY5lefD9WRoHWWRr/Q6DwsDjMX+xKjT4=\", secret: file: \"/secret\"}\n"
	default:
		return ""
	}
}

// TestEveryExampleLoads loads the example of every setting, and the same example with what another
// setting is: the loader does tell them apart.
func TestEveryExampleLoads(t *testing.T) {
	examples := 0
	every(t, func(s *Setting) {
		if s.IsSection() != (s.Example == "") {
			t.Errorf("%q has the type %s and the example %q", s.Path, s.Type, s.Example)
		}
		if s.Example == "" {
			return
		}
		examples++
		if s.Example == s.Default {
			t.Errorf("the example of %s is its default", s.Path)
		}
		text := needed(s) + s.ExampleConfig() + "\n"
		if s.Path != "machine.network.kubespan.enabled" {
			text += "machine: network: kubespan: enabled: false\n" // every config must say it
		}
		if _, err := load.Config("example.cue", []byte(text)); err != nil {
			t.Errorf("%s: %v\n%s", s.Path, err, text)
		}
		if _, err := load.Config("example.cue", []byte(needed(s)+under(s.Path, "{nothing: 1}")+"\n")); err == nil {
			t.Errorf("%s takes what it should not", s.Path)
		}
	})
	if examples < 40 {
		t.Errorf("there are %d examples", examples)
	}
}

// TestEverySettingHasAVersion wants a version of the changelog for each setting.
func TestEverySettingHasAVersion(t *testing.T) {
	changelog, err := os.ReadFile("../../CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	released := map[string]bool{Unreleased: true}
	for _, found := range regexp.MustCompile(`(?m)^## \[([0-9][^\]]*)\]`).FindAllStringSubmatch(string(changelog), -1) {
		released[found[1]] = true
	}
	every(t, func(s *Setting) {
		if s.Path != "" && !released[s.Since] {
			t.Errorf("%s is since %q, which the changelog does not have", s.Path, s.Since)
		}
	})
}

// TestBoundsAreThoseOfTheSchema compares the bounds of each setting with its source.
func TestBoundsAreThoseOfTheSchema(t *testing.T) {
	want := map[string]string{
		"machine.network.kubespan.mtu":                  `>=1280 & <=65455 | "auto"`,
		"machine.network.kubespan.routingTable":         ">=1 & <=252 | >=256 & <=4294967295",
		"machine.network.kubespan.interfaceName":        `=~"^[A-Za-z0-9_.-]{1,15}$" & !="." & !=".."`,
		"cluster.discovery.registries.service.protocol": `"grpc" | "connect" | "auto"`,
		"cluster.discovery.registries.service.endpoint": "",
		"machine.network.kubespan.bypass":               "",
	}
	every(t, func(s *Setting) {
		if bounds, checked := want[s.Path]; checked && s.Bounds != bounds {
			t.Errorf("the bounds of %s are %q, want %q", s.Path, s.Bounds, bounds)
		}
		delete(want, s.Path)
		if strings.ContainsAny(s.Bounds, "*#") && !strings.Contains(s.Bounds, `"`) {
			t.Errorf("the bounds of %s are %q", s.Path, s.Bounds)
		}
		if s.Bounds != "" && !strings.Contains(string(schema.CUE()), strings.Split(s.Bounds, " | ")[0]) {
			t.Errorf("the bounds %q of %s are not in the schema", s.Bounds, s.Path)
		}
	})
	for path := range want {
		t.Errorf("there is no %s", path)
	}
}

// TestRelatedSettingsAreNamedByBoth has what settings need of each other.
func TestRelatedSettingsAreNamedByBoth(t *testing.T) {
	found := 0
	every(t, func(s *Setting) {
		switch s.Path {
		case "machine.network.kubespan.enabled", "cluster.id", "cluster.secret", "cluster.discovery.enabled",
			"cluster.discovery.registries.service.disabled":
			found++
			if len(s.Related) == 0 {
				t.Errorf("%s needs no other setting", s.Path)
			}
		}
		for _, path := range strings.Fields(strings.Join(s.Related, " ")) {
			if strings.Count(path, ".") > 1 && strings.HasPrefix(path, "cluster.") && field.All()[path].Want == "" {
				t.Errorf("%s names %s, which is none", s.Path, path)
			}
		}
	})
	if found != 5 {
		t.Errorf("%d of the settings are there", found)
	}
}
