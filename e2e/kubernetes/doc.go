// Package kubernetes tests spanctl with real API servers, kubeadm, flannel, helm and Talos'
// registry, which `make kubernetes` builds.
package kubernetes
