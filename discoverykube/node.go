package discoverykube

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// controlPlaneLabels mark the Nodes of the control plane. kubeadm, k3s and others set them.
var controlPlaneLabels = []string{"node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"}

// node is what the registry uses of a Kubernetes Node.
type node struct {
	name, uid string
	// annotations has the annotations of KubeSpan only.
	annotations map[string]string
	// labels has controlPlaneLabels only.
	labels map[string]string
	// podCIDRs are the networks of the pods on the Node.
	podCIDRs []netip.Prefix
	// hostname is the machine's host name, as the kubelet reports it.
	hostname string
	// osImage is the machine's operating system, as the kubelet reports it.
	osImage string
}

func newNode(from *corev1.Node) node {
	n := node{
		name: from.Name, uid: string(from.UID), osImage: from.Status.NodeInfo.OSImage,
		annotations: selectKeys(from.Annotations, annotations), labels: selectKeys(from.Labels, controlPlaneLabels),
	}
	for _, address := range from.Status.Addresses {
		if address.Type == corev1.NodeHostName {
			n.hostname = address.Address
		}
	}
	cidrs := from.Spec.PodCIDRs
	if len(cidrs) == 0 && from.Spec.PodCIDR != "" {
		cidrs = []string{from.Spec.PodCIDR}
	}
	for _, text := range cidrs {
		if cidr, err := netip.ParsePrefix(text); err == nil {
			n.podCIDRs = append(n.podCIDRs, cidr.Masked())
		}
	}
	return n
}

func selectKeys(from map[string]string, keys []string) map[string]string {
	selected := map[string]string{}
	for _, key := range keys {
		if value, has := from[key]; has {
			selected[key] = value
		}
	}
	return selected
}

func (n *node) isControlPlane() bool {
	return slices.ContainsFunc(controlPlaneLabels, func(label string) bool { _, has := n.labels[label]; return has })
}
