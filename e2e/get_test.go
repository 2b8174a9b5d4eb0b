package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"golang.org/x/sys/unix"
)

// TestTables compares the tables with those of the KubeSpan guide: the headings
// to the letter, the rows by their form.
func TestTables(t *testing.T) {
	m := startMesh(t, 2)
	m.awaitUp()
	node := m.machines[0]
	const key, nodeID = `[A-Za-z0-9+/]{43}=`, `[0-9A-Za-z]{40,44}`
	address := regexp.QuoteMeta(m.machines[1].Address.String())
	for _, c := range []struct{ resource, headings, row string }{
		{"kubespanidentities", "ID VERSION ADDRESS PUBLICKEY", `local \d+ fd[0-9a-f:]+/128 ` + key},
		{"kubespanpeerspecs", "ID VERSION LABEL ENDPOINTS", key + ` \d+ node-2 \["` + address + `:51820"\]`},
		{"kubespanpeerstatuses", "ID VERSION LABEL ENDPOINT STATE RX TX", key + ` \d+ node-2 ` + address + `:51820 up \d+ \d+`},
		{"kubespanendpoints", "ID VERSION ENDPOINT AFFILIATE ID", key + ` \d+ ` + address + `:51820 ` + nodeID},
		{"affiliates", "ID VERSION HOSTNAME MACHINE TYPE ADDRESSES", nodeID + ` \d+ node-2 worker \["` + address + `"\]`},
		{"members", "ID VERSION HOSTNAME MACHINE TYPE OS ADDRESSES", `node-2 \d+ node-2 worker .+ \["` + address + `","fd[0-9a-f:]+"\]`},
	} {
		t.Run(c.resource, func(t *testing.T) {
			lines := strings.Split(strings.TrimSpace(node.run("get", c.resource)), "\n")
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
		if out := node.run("get", "member", "node-2"); strings.Count(out, "\n") != 2 {
			t.Errorf("got:\n%s", out)
		}
		if o := node.try("get", "member", "node-9"); o.status != 1 || !strings.Contains(o.stderr, `members "node-9" not found`) {
			t.Errorf("status %d\n%s", o.status, o.stderr)
		}
	})
	t.Run("unknown resource", func(t *testing.T) {
		if o := node.try("get", "pods"); o.status != 1 || !strings.Contains(o.stderr, "there are: kubespanidentities") {
			t.Errorf("status %d\n%s", o.status, o.stderr)
		}
	})
	t.Run("YAML has metadata and spec", func(t *testing.T) {
		for document := range strings.SplitSeq(node.run("get", "kubespanpeerstatuses", "-o", "yaml"), "\n---\n") {
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
			if r.Metadata.Namespace != "kubespan" || r.Metadata.Version == 0 || r.Spec["label"] != "node-2" || r.Spec["state"] != "up" {
				t.Errorf("got %+v", r)
			}
		}
	})
	t.Run("JSON", func(t *testing.T) {
		var r struct{ Spec struct{ Hostname string } }
		if err := json.Unmarshal([]byte(node.run("get", "member", "node-1", "-o", "json")), &r); err != nil || r.Spec.Hostname != "node-1" {
			t.Errorf("got %+v, %v", r, err)
		}
	})
}

// TestPrivateKeyIsForRootAlone looks for the private key in everything that can
// be asked for, and finds it in one place.
func TestPrivateKeyIsForRootAlone(t *testing.T) {
	requiresCurl(t)
	m := startMesh(t, 2)
	m.awaitUp()
	node := m.machines[0]
	out := node.run("get", "kubespanidentities", "-o", "yaml", "--show-secrets")
	match := regexp.MustCompile(`privateKey: (\S{43}=)`).FindStringSubmatch(out)
	if match == nil {
		t.Fatalf("root does not see the private key:\n%s", out)
	}
	secret := regexp.MustCompile(`secret: "(.*)"`).FindStringSubmatch(m.config)[1]
	places := map[string]string{"the agent's log": node.agent.Output(), "the server's log": m.server.Output()}
	for _, resource := range []string{"kubespanidentities", "kubespanpeerspecs", "kubespanpeerstatuses", "kubespanendpoints", "affiliates", "members", "machineconfig", "events"} {
		for _, output := range []string{"table", "json", "yaml"} {
			places["get "+resource+" -o "+output] = node.run("get", resource, "-o", output)
		}
	}
	if config := node.run("get", "machineconfig", "-o", "yaml", "--show-secrets"); !strings.Contains(config, secret) {
		t.Errorf("root does not see the cluster's secret:\n%s", config)
	}
	if config := places["get machineconfig -o yaml"]; !strings.Contains(config, "secret: (hidden)") || !strings.Contains(config, "mtu: 1420") {
		t.Errorf("the config in force is shown as\n%s", config)
	}
	places["history"] = node.run("history") + node.run("history", "-o", "json")
	places["the API without asking"] = node.curl("List", `{"type":"kubespanidentities"}`)
	if err := node.agent.Stop(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	node.run("down")
	plan := node.try("diff")
	places["diff"] = plan.stdout + plan.stderr
	if !strings.Contains(plan.stdout, "privateKey (hidden") {
		t.Errorf("diff does not tell of the key at all:\n%s", plan.stdout)
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

// curl calls the agent as a person would.
func (m *machine) curl(method, body string) string {
	m.t.Helper()
	o := m.finish(m.Command(withPatience(m.t), "curl", "--silent", "--show-error", "--fail-with-body", "--unix-socket", m.Socket(),
		"--header", "Content-Type: application/json", "--data", body, "http://spanctl/spanctl.agent.v1.AgentService/"+method))
	if o.status != 0 {
		m.t.Fatalf("curl %s %s: %s%s", method, body, o.stdout, o.stderr)
	}
	return compact(o.stdout)
}

// compact takes the space out of JSON, which the encoder varies from build to
// build.
func compact(text string) string {
	var out bytes.Buffer
	if err := json.Compact(&out, []byte(text)); err != nil {
		return text
	}
	return out.String()
}

func TestCurlOnTheSocket(t *testing.T) {
	requiresCurl(t)
	m := startMesh(t, 2)
	m.awaitUp()
	node := m.machines[0]
	if out := node.curl("List", `{"type":"members","id":"node-2"}`); !strings.Contains(out, `"hostname":"node-2"`) {
		t.Errorf("got %s", out)
	}
	if out := node.curl("GetStatus", `{}`); !strings.Contains(out, fmt.Sprintf("%q", node.Config())) {
		t.Errorf("got %s", out)
	}
	t.Run("the socket is its owner's alone", func(t *testing.T) {
		var s unix.Stat_t
		if err := unix.Stat(node.Socket(), &s); err != nil || s.Mode&0o777 != 0o600 {
			t.Errorf("mode %o, %v", s.Mode, err)
		}
	})
}

func TestWatchShowsChanges(t *testing.T) {
	m := startMesh(t, 2)
	m.awaitUp()
	node := m.machines[0]
	watch := node.start("get", "members", "-w")
	node.await(watch, "node-2")
	late := m.add(t, "node-3")
	late.write(m.config)
	late.startAgent()
	node.await(watch, "+   node-3")
	late.run("down")
	node.await(watch, "-   node-3")
	if err := watch.Stop(unix.SIGINT); err != nil {
		t.Errorf("ended with %v:\n%s", err, watch.Output())
	}
}
