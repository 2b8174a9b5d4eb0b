package discoverykube

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/spanmesh/span/reconciler"
)

// access is how an API server is reached and who asks.
type access struct {
	// from says where this is written down, for messages.
	from   string
	server *url.URL
	tls    *tls.Config
	proxy  func(*http.Request) (*url.URL, error)
	// token is who asks, where no certificate says so. It is read again for each
	// request: those of service accounts are replaced every hour.
	token func() (string, error)
}

// serviceAccountDir is where the kubelet puts a pod's service account.
const serviceAccountDir = "/var/run/secrets/kubernetes.io/serviceaccount"

// errNowhere says that nothing tells of an API server.
var errNowhere = errors.New("no kubeconfig is set (cluster.discovery.registries.kubernetes.kubeconfig), and this is no pod with a service account")

// inCluster is the access of a pod, by its service account.
func inCluster(dir string) (*access, error) {
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return nil, errNowhere
	}
	pool, err := poolOf(os.ReadFile(filepath.Join(dir, "ca.crt")))
	if err != nil {
		return nil, fmt.Errorf("the pod's service account: %w", err)
	}
	return &access{
		from:   "the pod's service account",
		server: &url.URL{Scheme: "https", Host: net.JoinHostPort(host, port)},
		tls:    &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		token:  fileToken(filepath.Join(dir, "token")),
	}, nil
}

func fileToken(path string) func() (string, error) {
	return func() (string, error) {
		data, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("read the token: %w", err)
		}
		return strings.TrimSpace(string(data)), nil
	}
}

// poolOf makes a pool of what was read.
func poolOf(pem []byte, err error) (*x509.CertPool, error) {
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("the authority is no certificate in PEM")
	}
	return pool, nil
}

// kubeconfig is what is read of one (kubeconfig.v1 of client-go's documentation).
type kubeconfig struct {
	CurrentContext string `yaml:"current-context"`
	Contexts       []struct {
		Name    string `yaml:"name"`
		Context struct {
			Cluster string `yaml:"cluster"`
			User    string `yaml:"user"`
		} `yaml:"context"`
	} `yaml:"contexts"`
	Clusters []struct {
		Name    string      `yaml:"name"`
		Cluster kubeCluster `yaml:"cluster"`
	} `yaml:"clusters"`
	Users []struct {
		Name string   `yaml:"name"`
		User kubeUser `yaml:"user"`
	} `yaml:"users"`
}

type kubeCluster struct {
	Server     string `yaml:"server"`
	ServerName string `yaml:"tls-server-name"`
	Insecure   bool   `yaml:"insecure-skip-tls-verify"`
	CA         string `yaml:"certificate-authority"`
	CAData     string `yaml:"certificate-authority-data"`
	Proxy      string `yaml:"proxy-url"`
}

type kubeUser struct {
	Certificate     string    `yaml:"client-certificate"`
	CertificateData string    `yaml:"client-certificate-data"`
	Key             string    `yaml:"client-key"`
	KeyData         string    `yaml:"client-key-data"`
	Token           string    `yaml:"token"`
	TokenFile       string    `yaml:"tokenFile"`
	Username        string    `yaml:"username"`
	Exec            yaml.Node `yaml:"exec"`
	Provider        yaml.Node `yaml:"auth-provider"`
	As              string    `yaml:"as"`
}

// maxKubeconfig bounds a kubeconfig in bytes.
const maxKubeconfig = 1 << 20

// readKubeconfig is the access of the current context of a kubeconfig.
func readKubeconfig(path string) (*access, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	if info.Size() > maxKubeconfig {
		return nil, fmt.Errorf("the kubeconfig %s has %d bytes: want at most %d", path, info.Size(), maxKubeconfig)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	a, err := parseKubeconfig(data, filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("the kubeconfig %s: %w", path, err)
	}
	a.from = path
	return a, nil
}

// parseKubeconfig reads a kubeconfig; the paths in it are relative to dir.
func parseKubeconfig(data []byte, dir string) (*access, error) {
	var k kubeconfig
	if err := yaml.Unmarshal(data, &k); err != nil {
		// The parser quotes what it read, which may be a secret.
		return nil, errors.New("is no YAML as a kubeconfig has it")
	}
	cluster, user, err := k.current()
	if err != nil {
		return nil, err
	}
	a := &access{proxy: http.ProxyFromEnvironment}
	if a.server, err = url.Parse(cluster.Server); err != nil || a.server.Host == "" || a.server.Scheme != "https" && a.server.Scheme != "http" {
		return nil, errors.New("has no URL of an API server, such as https://203.0.113.1:6443")
	}
	if a.server.Scheme == "http" && !isLoopback(a.server.Hostname()) {
		return nil, errors.New("has an API server that is reached without TLS: the token could be read on the way")
	}
	if cluster.Proxy != "" {
		proxy, err := url.Parse(cluster.Proxy)
		if err != nil || proxy.Host == "" {
			return nil, errors.New("has a proxy-url that is no URL")
		}
		a.proxy = http.ProxyURL(proxy)
	}
	if a.tls, err = cluster.tls(dir); err != nil {
		return nil, err
	}
	return a, user.identify(a, dir)
}

func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// current is what the current context names, or the only cluster and user there are.
func (k *kubeconfig) current() (cluster kubeCluster, user kubeUser, err error) {
	for _, c := range k.Contexts {
		if c.Name != k.CurrentContext {
			continue
		}
		found := false
		for _, named := range k.Clusters {
			if named.Name == c.Context.Cluster {
				cluster, found = named.Cluster, true
			}
		}
		if !found {
			return cluster, user, fmt.Errorf("has no cluster %q, which its current context names", c.Context.Cluster)
		}
		for _, named := range k.Users {
			if named.Name == c.Context.User {
				return cluster, named.User, nil
			}
		}
		return cluster, user, fmt.Errorf("has no user %q, which its current context names", c.Context.User)
	}
	return cluster, user, fmt.Errorf("has no context %q, which current-context names", k.CurrentContext)
}

func (c kubeCluster) tls(dir string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName, InsecureSkipVerify: c.Insecure} //nolint:gosec // the kubeconfig asks for it
	pem, err := material(c.CAData, c.CA, dir)
	if err != nil {
		return nil, fmt.Errorf("certificate-authority: %w", err)
	}
	if pem != nil {
		config.RootCAs, err = poolOf(pem, nil)
	}
	return config, err
}

// identify says who asks.
func (u kubeUser) identify(a *access, dir string) error {
	switch {
	case !u.Exec.IsZero() || !u.Provider.IsZero():
		return errors.New("has a user whose credentials a program makes (exec or auth-provider): want the token or the certificate of a service account")
	case u.Username != "":
		return errors.New("has a user with a password, which Kubernetes takes no more: want the token or the certificate of a service account")
	case u.As != "":
		return errors.New("has a user who acts as another (as): want the token or the certificate of a service account")
	}
	certificate, err := material(u.CertificateData, u.Certificate, dir)
	if err != nil {
		return fmt.Errorf("client-certificate: %w", err)
	}
	key, err := material(u.KeyData, u.Key, dir)
	if err != nil {
		return fmt.Errorf("client-key: %w", err)
	}
	if certificate != nil || key != nil {
		pair, err := tls.X509KeyPair(certificate, key)
		if err != nil {
			return fmt.Errorf("client-certificate and client-key: %w", err)
		}
		a.tls.Certificates = []tls.Certificate{pair}
	}
	switch {
	case u.TokenFile != "":
		a.token = fileToken(within(dir, u.TokenFile))
	case u.Token != "":
		a.token = func() (string, error) { return u.Token, nil }
	}
	return nil
}

// material is what a kubeconfig has in itself, or in a file; nil for neither.
func material(data, path, dir string) ([]byte, error) {
	if data != "" {
		decoded, err := base64.StdEncoding.DecodeString(data)
		if err != nil {
			return nil, errors.New("is no base64")
		}
		return decoded, nil
	}
	if path == "" {
		return nil, nil
	}
	return os.ReadFile(within(dir, path))
}

func within(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

const (
	dialTimeout = 5 * time.Second
	// pingAfter and pingTimeout find a connection that died in silence.
	pingAfter   = 15 * time.Second
	pingTimeout = 10 * time.Second
	// idleTimeout ends connections that were made before the network changed.
	idleTimeout = 90 * time.Second
)

// transport makes connections. The packets of marked have the firewall mark, and stay outside of
// the mesh; where that leads nowhere, since the API server has an address in the mesh,
// they go without.
func (a *access) transport(marked reconciler.DialFunc) *http.Transport {
	plain := net.Dialer{Timeout: dialTimeout}
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		if marked == nil {
			return plain.DialContext(ctx, network, address)
		}
		markedCtx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		conn, err := marked(markedCtx, network, address)
		if err == nil {
			return conn, nil
		}
		conn, second := plain.DialContext(ctx, network, address)
		if second != nil {
			return nil, err
		}
		return conn, nil
	}
	return &http.Transport{
		Proxy:               a.proxy,
		DialContext:         dial,
		TLSClientConfig:     a.tls,
		TLSHandshakeTimeout: dialTimeout,
		ForceAttemptHTTP2:   true,
		IdleConnTimeout:     idleTimeout,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}
}
