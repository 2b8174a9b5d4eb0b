package e2e_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/spanmesh/span/e2e/internal/harness"
	"go.yaml.in/yaml/v3"
	"golang.org/x/sys/unix"
)

// TestTables compares the tables with those of the KubeSpan guide: the headings exactly, the
// rows with patterns.
func TestTables(t *testing.T) {
	t.Parallel()
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	node := m.Machines[0]
	const key, nodeID = `[A-Za-z0-9+/]{43}=`, `[0-9A-Za-z]{40,44}`
	address := regexp.QuoteMeta(m.Machines[1].Address.String())
	for _, c := range []struct{ resource, headings, row string }{
		{"kubespanidentities", "ID VERSION ADDRESS PUBLICKEY", `local \d+ fd[0-9a-f:]+/128 ` + key},
		{"kubespanpeerspecs", "ID VERSION LABEL ENDPOINTS", key + ` \d+ node-2 \["` + address + `:51820"\]`},
		{"kubespanpeerstatuses", "ID VERSION LABEL ENDPOINT STATE RX TX RTT", key + ` \d+ node-2 ` + address + `:51820 up [0-9.]+[KM]?i?B [0-9.]+[KM]?i?B( [0-9.]+[mµ]?s)?`},
		{"kubespanendpoints", "ID VERSION ENDPOINT AFFILIATE ID", key + ` \d+ ` + address + `:51820 ` + nodeID},
		{"affiliates", "ID VERSION HOSTNAME MACHINE TYPE ADDRESSES", nodeID + ` \d+ node-2 worker \["` + address + `"\]`},
		{"members", "ID VERSION HOSTNAME MACHINE TYPE OS ADDRESSES", `node-2 \d+ node-2 worker .+ \["` + address + `","fd[0-9a-f:]+"\]`},
	} {
		t.Run(c.resource, func(t *testing.T) {
			lines := strings.Split(strings.TrimSpace(node.CLI.Run("get", c.resource)), "\n")
			for i, line := range lines {
				lines[i] = strings.Join(strings.Fields(line), " ")
			}
			if lines[0] != c.headings {
				t.Errorf("headings are %q, want %q", lines[0], c.headings)
			}
			row := regexp.MustCompile("^" + c.row + "$")
			found := false
			for _, line := range lines[1:] {
				found = found || row.MatchString(line)
			}
			if !found {
				t.Errorf("no row matches %s:\n%s", row, strings.Join(lines, "\n"))
			}
		})
	}
	t.Run("one by ID", func(t *testing.T) {
		if out := node.CLI.Run("get", "member", "node-2"); strings.Count(out, "\n") != 2 {
			t.Errorf("got:\n%s", out)
		}
		node.CLI.Try("get", "member", "node-9").WantStatus(t, 1).WantStderr(t, `members "node-9" not found`)
	})
	t.Run("one by name", func(t *testing.T) {
		key := strings.TrimSpace(node.CLI.Run("get", "peers", "node-2", "-o", "jsonpath={.metadata.id}"))
		for _, resource := range []string{"peers", "ksps", "peerspecs", "endpoints"} {
			harness.WantText(t, "the "+resource+" called node-2", node.CLI.Run("get", resource, "node-2"), key)
		}
		if name := node.CLI.Run("get", "peers", key, "-o", "name"); name != "node-2\n" {
			t.Errorf("the peer is called %q", name)
		}
		node.CLI.Try("get", "peers", "node-22").WantStatus(t, 1).WantStderr(t, `kubespanpeerstatuses "node-22" not found; did you mean "node-2"?`)
	})
	t.Run("as wg shows it", func(t *testing.T) {
		lines := strings.Split(strings.TrimSpace(node.CLI.Run("get", "peers", "-o", "wg")), "\n")
		row := regexp.MustCompile("^" + key + `\t\(hidden\)\t` + address + `:51820\t\S*fd\S+/128\S*\t[1-9]\d+\t[1-9]\d*\t[1-9]\d*\t25$`)
		if len(lines) != 2 || !regexp.MustCompile(`^\(hidden\)\t`+key+`\t51820\t0x20$`).MatchString(lines[0]) || !row.MatchString(lines[1]) {
			t.Errorf("got:\n%s", strings.Join(lines, "\n"))
		}
	})
	t.Run("unknown resource", func(t *testing.T) {
		node.CLI.Try("get", "pods").WantStatus(t, 1).WantStderr(t, "there are: kubespanidentities")
	})
	t.Run("YAML has metadata and spec", func(t *testing.T) {
		for document := range strings.SplitSeq(node.CLI.Run("get", "kubespanpeerstatuses", "-o", "yaml"), "\n---\n") {
			var r struct {
				Metadata struct {
					Namespace, Type, ID string
					Version             int
				}
				Spec map[string]any
			}
			if err := yaml.Unmarshal([]byte(document), &r); err != nil {
				t.Fatal(err)
			}
			if r.Metadata.Namespace != "kubespan" {
				t.Errorf("the namespace is %q", r.Metadata.Namespace)
			}
			if r.Metadata.Version == 0 {
				t.Error("there is no version")
			}
			if r.Spec["label"] != "node-2" {
				t.Errorf("the label is %v", r.Spec["label"])
			}
			if r.Spec["state"] != "up" {
				t.Errorf("the state is %v", r.Spec["state"])
			}
		}
	})
	t.Run("JSON", func(t *testing.T) {
		var list struct {
			Items []struct {
				Spec struct{ ReceiveBytes int64 }
			}
		}
		if err := json.Unmarshal([]byte(node.CLI.Run("get", "peers", "-o", "json")), &list); err != nil {
			t.Fatal(err)
		}
		if len(list.Items) != 1 || list.Items[0].Spec.ReceiveBytes == 0 {
			t.Errorf("the peers are %+v", list)
		}
		var r struct{ Spec struct{ Hostname string } }
		if err := json.Unmarshal([]byte(node.CLI.Run("get", "member", "node-1", "-o", "json")), &r); err != nil {
			t.Fatal(err)
		}
		if r.Spec.Hostname != "node-1" {
			t.Errorf("the host name is %q", r.Spec.Hostname)
		}
	})
}

// TestPrivateKeyIsShownToRootOnly looks for the private key in all outputs. Only
// --show-secrets has it.
func TestPrivateKeyIsShownToRootOnly(t *testing.T) {
	t.Parallel()
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	node := m.Machines[0]
	out := node.CLI.Run("get", "kubespanidentities", "-o", "yaml", "--show-secrets")
	match := regexp.MustCompile(`privateKey: (\S{43}=)`).FindStringSubmatch(out)
	if match == nil {
		t.Fatalf("root does not see the private key:\n%s", out)
	}
	secret := regexp.MustCompile(`secret: "(.*)"`).FindStringSubmatch(m.Config)[1]
	places := map[string]string{"the agent's log": node.Agent.Output(), "the server's log": m.Server.Output()}
	for _, resource := range []string{"kubespanidentities", "kubespanpeerspecs", "kubespanpeerstatuses", "kubespanendpoints", "affiliates", "members", "machineconfig", "events"} {
		for _, output := range []string{"table", "wide", "json", "yaml", "name", "jsonpath=$"} {
			places["get "+resource+" -o "+output] = node.CLI.Run("get", resource, "-o", output)
		}
	}
	places["get peers -o wg"] = node.CLI.Run("get", "peers", "-o", "wg")
	if config := node.CLI.Run("get", "machineconfig", "-o", "yaml", "--show-secrets"); !strings.Contains(config, secret) {
		t.Errorf("root does not see the cluster's secret:\n%s", config)
	}
	harness.WantText(t, "the config in force", places["get machineconfig -o yaml"], "secret: (hidden)", "mtu: 1420")
	places["history"] = node.CLI.Run("history") + node.CLI.Run("history", "-o", "json")
	places["the API without asking"] = node.API.Post("List", `{"type":"kubespanidentities"}`)
	node.Agent.Terminate()
	node.CLI.Run("down")
	plan := node.CLI.Try("diff")
	places["diff"] = plan.Stdout + plan.Stderr
	if !strings.Contains(plan.Stdout, "privateKey (hidden") {
		t.Errorf("diff does not show that there is a key:\n%s", plan.Stdout)
	}
	for place, text := range places {
		if strings.Contains(text, match[1]) {
			t.Errorf("%s shows the private key:\n%s", place, text)
		}
		if strings.Contains(text, secret) {
			t.Errorf("%s shows the cluster secret:\n%s", place, text)
		}
	}
}

func TestAPIInJSON(t *testing.T) {
	t.Parallel()
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	node := m.Machines[0]
	if out := node.API.Post("List", `{"type":"members","id":"node-2"}`); !strings.Contains(out, `"hostname":"node-2"`) {
		t.Errorf("got %s", out)
	}
	if out := node.API.Post("GetStatus", `{}`); !strings.Contains(out, fmt.Sprintf("%q", node.Config())) {
		t.Errorf("got %s", out)
	}
	t.Run("only the owner may use the socket", func(t *testing.T) {
		var s unix.Stat_t
		if err := unix.Stat(node.Socket(), &s); err != nil {
			t.Fatal(err)
		}
		if mode := s.Mode & 0o777; mode != 0o600 {
			t.Errorf("mode %o, want 600", mode)
		}
	})
}

func TestWatchShowsChanges(t *testing.T) {
	t.Parallel()
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	node := m.Machines[0]
	watch := node.CLI.Start("get", "members", "-w")
	watch.AwaitOutput("node-2")
	late := m.Add("node-3")
	late.Files.WriteConfig(m.Config)
	late.Agent.Start()
	watch.AwaitOutput("+   node-3")
	late.CLI.Run("down")
	watch.AwaitOutput("-   node-3")
	watch.Interrupt()
}
