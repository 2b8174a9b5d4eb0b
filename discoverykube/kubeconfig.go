package discoverykube

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"os"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// maxKubeconfig limits the size of a kubeconfig, in bytes.
const maxKubeconfig = 1 << 20

var errNoAPIServer = errors.New("no API server is known: set cluster.discovery.registries.kubernetes.kubeconfig, or run in a pod with a service account")

// loadConfig returns how to reach the API server: as the current context of the
// kubeconfig at path says or, without a path, by the pod's service account.
func loadConfig(path string) (*rest.Config, error) {
	if path != "" {
		return loadKubeconfig(path)
	}
	config, err := rest.InClusterConfig()
	if errors.Is(err, rest.ErrNotInCluster) {
		return nil, errNoAPIServer
	}
	if err != nil {
		return nil, fmt.Errorf("read the pod's service account: %w", err)
	}
	return config, nil
}

func loadKubeconfig(path string) (*rest.Config, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	if info.Size() > maxKubeconfig {
		return nil, fmt.Errorf("kubeconfig %s has %d bytes: want at most %d", path, info.Size(), maxKubeconfig)
	}
	kubeconfig, err := clientcmd.LoadFromFile(path)
	if unreadable, is := errors.AsType[*fs.PathError](err); is {
		return nil, fmt.Errorf("read the kubeconfig: %w", unreadable)
	}
	if err != nil {
		// The parser quotes what it read, which may be a secret.
		return nil, fmt.Errorf("kubeconfig %s is not valid YAML of kind Config: check it with `kubectl --kubeconfig %s config view`", path, path)
	}
	config, err := clientConfig(kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", path, err)
	}
	return config, nil
}

func clientConfig(kubeconfig *api.Config) (*rest.Config, error) {
	if err := checkContext(kubeconfig); err != nil {
		return nil, err
	}
	if err := clientcmd.ResolveLocalPaths(kubeconfig); err != nil {
		return nil, err
	}
	config, err := clientcmd.NewDefaultClientConfig(*kubeconfig, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, err
	}
	if config.ExecProvider != nil {
		config.ExecProvider.StdinUnavailable = true
		config.ExecProvider.StdinUnavailableMessage = "spanctl runs credential plugins without a terminal"
	}
	return config, nil
}

// checkContext refuses what client-go accepts, and should not be used here.
func checkContext(kubeconfig *api.Config) error {
	context := kubeconfig.Contexts[kubeconfig.CurrentContext]
	if context == nil {
		return fmt.Errorf("there is no context %q, which current-context names", kubeconfig.CurrentContext)
	}
	cluster := kubeconfig.Clusters[context.Cluster]
	if cluster == nil {
		return fmt.Errorf("there is no cluster %q, which the current context names", context.Cluster)
	}
	if context.AuthInfo != "" && kubeconfig.AuthInfos[context.AuthInfo] == nil {
		return fmt.Errorf("there is no user %q, which the current context names", context.AuthInfo)
	}
	return checkAddresses(cluster)
}

// checkAddresses checks the URLs of the API server and of its proxy. Its errors do not have
// that of the proxy, which may have a password.
func checkAddresses(cluster *api.Cluster) error {
	server, err := url.Parse(cluster.Server)
	if err != nil || server.Host == "" || server.Scheme != "https" && server.Scheme != "http" {
		return errors.New("server is not the URL of an API server, such as https://203.0.113.1:6443")
	}
	if server.Scheme == "http" && !isLoopback(server.Hostname()) {
		return errors.New("server is reached without TLS: membership could be observed and changed on the path; use https")
	}
	if cluster.ProxyURL == "" {
		return nil
	}
	if proxy, err := url.Parse(cluster.ProxyURL); err != nil || proxy.Host == "" {
		return errors.New("proxy-url is not a URL")
	}
	return nil
}

func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}
