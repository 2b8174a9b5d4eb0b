package discoverykube

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
)

const head = "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts:\n- name: c\n  context: {cluster: k, user: u}\n"

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// loadText returns the client config of a kubeconfig.
func loadText(t *testing.T, text string) (*rest.Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	writeFile(t, path, text)
	return loadConfig(path)
}

func TestKubeconfig(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "kubeconfig")
	writeFile(t, filepath.Join(dir, "token"), "secret\n")
	writeFile(t, path, head+"clusters:\n- name: k\n  cluster: {server: 'https://192.0.2.1:6443', tls-server-name: kubernetes}\nusers:\n- name: u\n  user: {tokenFile: token, as: admin}\n")
	config, err := loadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	if config.Host != "https://192.0.2.1:6443" || config.ServerName != "kubernetes" || config.Insecure || config.Impersonate.UserName != "admin" {
		t.Errorf("the config is %v", config)
	}
	if want := filepath.Join(dir, "token"); config.BearerTokenFile != want {
		t.Errorf("the token is read from %q, want %q", config.BearerTokenFile, want)
	}
}

// TestExecKubeconfig has a credential plugin beside the kubeconfig. It never gets the
// terminal.
func TestExecKubeconfig(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "kubeconfig")
	writeFile(t, path, head+"clusters:\n- name: k\n  cluster: {server: 'https://192.0.2.1:6443'}\n"+
		"users:\n- name: u\n  user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: ./plugin, interactiveMode: IfAvailable}}\n")
	config, err := loadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, "plugin"); config.ExecProvider.Command != want || !config.ExecProvider.StdinUnavailable {
		t.Errorf("the plugin is %v, want %s without standard input", config.ExecProvider, want)
	}
}

// TestInvalidKubeconfigs checks that errors say what is wrong, and have no secrets.
func TestInvalidKubeconfigs(t *testing.T) {
	const cluster = "clusters:\n- name: k\n  cluster: {server: 'https://192.0.2.1:6443'}\n"
	inCluster := func(fields string) string {
		return head + "clusters:\n- name: k\n  cluster: {" + fields + "}\nusers:\n- name: u\n  user: {token: hunter2}\n"
	}
	asUser := func(fields string) string { return head + cluster + "users:\n- name: u\n  user: {" + fields + "}\n" }
	for text, want := range map[string]string{
		"a: [":                 "not valid YAML",
		"":                     `no context ""`,
		"current-context: x\n": `no context "x"`,
		head:                   `no cluster "k"`,
		head + cluster:         `no user "u"`,
		inCluster("server: 'http://192.0.2.1:8080'"):                             "without TLS",
		inCluster("server: '192.0.2.1'"):                                         "not the URL of an API server",
		inCluster("server: 'https://a', certificate-authority-data: '###'"):      "not valid YAML",
		inCluster("server: 'https://a', certificate-authority: /nowhere"):        "/nowhere: no such file",
		inCluster("server: 'https://a', proxy-url: 'hunter2'"):                   "proxy-url is not a URL",
		inCluster("server: 'https://a', proxy-url: 'http://u:hunter2@[::1'"):     "proxy-url is not a URL",
		asUser("token: [hunter2]"):                                               "not valid YAML",
		asUser("token: *hunter2"):                                                "not valid YAML",
		asUser("exec: {command: aws, interactiveMode: Never}"):                   "apiVersion",
		asUser("exec: {apiVersion: client.authentication.k8s.io/v1}"):            "command must be specified",
		asUser("tokenFile: /nowhere"):                                            "/nowhere: no such file",
		asUser("client-certificate: /nowhere, client-key-data: 'aHVudGVyMg=='"):  "/nowhere: no such file",
		asUser("client-certificate-data: aHVudGVyMg==, client-key-data: 'aHVu'"): "",
	} {
		_, err := loadText(t, text)
		if want == "" {
			if err != nil {
				t.Errorf("%s\ngot %v", text, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s\ngot %v, want %s", text, err, want)
		}
	}
}

func TestNoAPIServer(t *testing.T) {
	if _, err := loadConfig(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "read the kubeconfig") {
		t.Errorf("without the file: %v", err)
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if _, err := loadConfig(""); err == nil || !strings.Contains(err.Error(), "no API server is known") {
		t.Errorf("outside of a pod: %v", err)
	}
}

// TestInvalidCertificate has a key pair that cannot be parsed, which is found when the
// client is made.
func TestInvalidCertificate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kubeconfig")
	writeFile(t, path, head+"clusters:\n- name: k\n  cluster: {server: 'https://192.0.2.1:6443'}\nusers:\n- name: u\n  user: {client-certificate-data: aHVudGVyMg==, client-key-data: aHVudGVyMg==}\n")
	if _, err := connect(options{kubeconfig: path}, nil, nil); err == nil || strings.Contains(fmt.Sprint(err), "hunter2") {
		t.Errorf("got %v", err)
	}
}

// FuzzKubeconfig looks for panics, and for API servers that are reached without TLS.
func FuzzKubeconfig(f *testing.F) {
	f.Add(head + "clusters:\n- name: k\n  cluster: {server: 'https://192.0.2.1:6443'}\nusers:\n- name: u\n  user: {token: t}\n")
	f.Fuzz(func(t *testing.T, text string) {
		config, err := loadText(t, text)
		if err != nil {
			return
		}
		server, err := url.Parse(config.Host)
		if err != nil || server.Scheme != "https" && !isLoopback(server.Hostname()) {
			t.Errorf("the API server is %q", config.Host)
		}
	})
}
