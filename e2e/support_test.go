package e2e_test

import (
	"archive/zip"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spanmesh/span/e2e/internal/harness"
)

// TestSupportBundle makes bundles of a machine with a preshared key, in all modes, with an agent and
// without, and looks for its secrets in them.
func TestSupportBundle(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a support bundle has no secrets in any mode, and by default no names, keys and addresses")
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	node, other := m.Machines[0], m.Machines[1]
	phone := m.Add("phone")
	psk := strings.TrimSpace(phone.Exec.Nodecmd("psk"))
	public := strings.TrimSpace(phone.Exec.Nodecmd("phone-key"))
	config := m.Config + fmt.Sprintf("\ncluster: discovery: registries: static: peers: [{name: %q, publicKey: %q, presharedKey: %q, allowedIPs: [%q], endpoints: [%q]}]\n",
		"phone", public, psk, "198.51.100.77/32", "203.0.113.77:51820")
	node.Agent.AwaitAfter(func() { node.Files.WriteConfig(config) }, "+ peer "+public)
	secrets := map[string]string{
		"preshared key":      psk,
		"cluster secret":     regexp.MustCompile(`secret: "(.*)"`).FindStringSubmatch(m.Config)[1],
		"private key":        regexp.MustCompile(`privateKey: (\S{43}=)`).FindStringSubmatch(node.CLI.Run("get", "identities", "-o", "yaml", "--show-secrets"))[1],
		"password in a URL":  "s3cr3t-of-url",
		"token of a service": "qq11ww22ee",
	}
	// The config in the file is refused, and why is in the log.
	node.Agent.AwaitAfter(func() {
		node.Files.WriteConfig(regexp.MustCompile(`http://[0-9.:]+`).ReplaceAllString(config, "http://operator:s3cr3t-of-url@172.20.0.1:3000/?token=qq11ww22ee"))
	}, "config file not valid")
	key := strings.Split(node.CLI.Run("get", "peers", "node-2", "-o", "wg", "--no-headers"), "\t")[0]
	private := map[string]string{"the key of a peer": key, "the name of a peer": "node-2", "a mesh address": other.API.MeshAddress().String(),
		"a public address": "203.0.113.77", "the ID of a node": other.Files.NodeID()}
	for _, mode := range []string{"default", "strict", "none"} {
		files := bundleOf(t, node, mode)
		for _, name := range []string{"README.txt", "status.json", "agent.json", "plan.json", "log.jsonl", "stacks.txt", "usage.json", "versions.txt", "history.json",
			"resources/kubespanpeerstatuses.json", "resources/machineconfigs.json", "resources/conditions.json", "resources/events.json",
			"kernel/routes.txt", "kernel/rules.txt", "kernel/nftables.txt", "kernel/sysctls.txt", "kernel/counters.txt", "kernel/links.txt"} {
			if files[name] == "" {
				t.Errorf("%s: %s is missing, or empty; there are %d files:\n%s", mode, name, len(files), files["README.txt"])
			}
		}
		wantNoSecrets(t, mode, files, secrets)
		for what, text := range private {
			for name, file := range files {
				if mode != "none" && strings.Contains(file, text) {
					t.Errorf("%s: %s has %s", mode, name, what)
				}
			}
			if mode == "none" && !strings.Contains(files["resources/kubespanpeerspecs.json"]+files["resources/affiliates.json"], text) {
				t.Errorf("the bundle without placeholders has not %s", what)
			}
		}
		harness.WantText(t, "the log in mode "+mode, files["log.jsonl"], `"peer up"`, "agent started")
	}
	node.Files.WriteConfig(config)
	node.Agent.Terminate()
	files := bundleOf(t, node, "none")
	wantNoSecrets(t, "without an agent", files, secrets)
	harness.WantText(t, "the README without an agent", files["README.txt"], "log.jsonl", "NOT COMPLETE: no agent is running")
	harness.WantText(t, "the config without an agent", files["resources/machineconfigs.json"], "(hidden)", public)
	harness.WantText(t, "the sysctls without an agent", files["kernel/sysctls.txt"], "ipv6/conf/kubespan/disable_ipv6 = 0")
}

// bundleOf makes a bundle on a machine, and returns its files. All of JSON can be parsed.
func bundleOf(t *testing.T, node *harness.Machine, mode string) map[string]string {
	t.Helper()
	path := filepath.Join(node.Dir, mode+".zip")
	harness.WantText(t, "support", node.CLI.Run("support", "--anonymize", mode, "-o", path), "wrote "+path)
	archive, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	files := map[string]string{}
	for _, f := range archive.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(f.Name, ".json") && !json.Valid(text) {
			t.Errorf("%s is no JSON:\n%s", f.Name, text)
		}
		files[f.Name] = string(text)
	}
	return files
}

// wantNoSecrets wants no file to have a secret: as it is, as the bytes that it is the base64 of, in
// base64 or in hexadecimal digits.
func wantNoSecrets(t *testing.T, mode string, files, secrets map[string]string) {
	t.Helper()
	for what, secret := range secrets {
		forms := []string{secret, base64.StdEncoding.EncodeToString([]byte(secret)), hex.EncodeToString([]byte(secret))}
		if raw, err := base64.StdEncoding.DecodeString(secret); err == nil {
			forms = append(forms, string(raw), hex.EncodeToString(raw), base64.RawURLEncoding.EncodeToString(raw))
		}
		for name, file := range files {
			for _, form := range forms {
				if strings.Contains(file, form) {
					t.Errorf("%s: %s has the %s", mode, name, what)
				}
			}
		}
	}
}
