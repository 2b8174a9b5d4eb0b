package discoverykube

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const head = "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts:\n- name: c\n  context: {cluster: k, user: u}\n"

func TestKubeconfig(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte("first\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := parseKubeconfig([]byte(head+"clusters:\n- name: k\n  cluster: {server: 'https://192.0.2.1:6443', tls-server-name: kubernetes}\nusers:\n- name: u\n  user: {tokenFile: token}\n"), dir)
	if err != nil {
		t.Fatal(err)
	}
	if a.server.Host != "192.0.2.1:6443" || a.tls.ServerName != "kubernetes" || a.tls.InsecureSkipVerify {
		t.Errorf("it is %+v", a)
	}
	for _, want := range []string{"first", "second"} {
		if err := os.WriteFile(filepath.Join(dir, "token"), []byte(want+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if token, err := a.token(); err != nil || token != want {
			t.Errorf("the token is %q, %v", token, err)
		}
	}
}

// TestBadKubeconfigs says what is wrong and shows no secrets.
func TestBadKubeconfigs(t *testing.T) {
	const cluster = "clusters:\n- name: k\n  cluster: {server: 'https://192.0.2.1:6443'}\n"
	for text, want := range map[string]string{
		"a: [":                 "is no YAML",
		"current-context: x\n": `no context "x"`,
		head:                   `no cluster "k"`,
		head + cluster:         `no user "u"`,
		head + "clusters:\n- name: k\n  cluster: {server: 'http://192.0.2.1:8080'}\nusers:\n- name: u\n":                        "without TLS",
		head + "clusters:\n- name: k\n  cluster: {server: '192.0.2.1'}\nusers:\n- name: u\n":                                    "no URL of an API server",
		head + "clusters:\n- name: k\n  cluster: {server: 'https://a', certificate-authority-data: '###'}\nusers:\n- name: u\n": "certificate-authority: is no base64",
		head + "clusters:\n- name: k\n  cluster: {server: 'https://a', certificate-authority: /nowhere}\nusers:\n- name: u\n":   "/nowhere: no such file",
		head + "clusters:\n- name: k\n  cluster: {server: 'https://a', proxy-url: 'x'}\nusers:\n- name: u\n":                    "proxy-url",
		head + cluster + "users:\n- name: u\n  user: {exec: {command: aws}}\n":                                                  "service account",
		head + cluster + "users:\n- name: u\n  user: {username: a, password: hunter2}\n":                                        "password",
		head + cluster + "users:\n- name: u\n  user: {as: admin, token: hunter2}\n":                                             "acts as another",
		head + cluster + "users:\n- name: u\n  user: {client-certificate-data: aHVudGVyMg==, client-key-data: aHVudGVyMg==}\n":  "client-certificate and client-key",
		head + cluster + "users:\n- name: u\n  user: {token: [hunter2]}\n":                                                      "is no YAML",
	} {
		_, err := parseKubeconfig([]byte(text), t.TempDir())
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s\ngot %v, want %s", text, err, want)
		}
	}
	if _, err := readKubeconfig(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "read the kubeconfig") {
		t.Errorf("got %v", err)
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if _, err := inCluster(t.TempDir()); err == nil || !strings.Contains(err.Error(), "no kubeconfig is set") {
		t.Errorf("got %v", err)
	}
}

// FuzzKubeconfig looks for panics.
func FuzzKubeconfig(f *testing.F) {
	f.Add([]byte(head + "clusters:\n- name: k\n  cluster: {server: 'https://192.0.2.1:6443'}\nusers:\n- name: u\n  user: {token: t}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if a, err := parseKubeconfig(data, t.TempDir()); err == nil && (a.server == nil || a.server.Host == "") {
			t.Errorf("there is no server: %+v", a)
		}
	})
}
