package discoverykube

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// controlPlaneLabels mark the Nodes of the control plane. kubeadm, k3s and others set them.
var controlPlaneLabels = []string{"node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"}

// node is what the registry uses of a Kubernetes Node.
type node struct {
	name, uid string
	// version orders the states of one Node; 0 if it is not known.
	version uint64
	// annotations has the annotations of KubeSpan only.
	annotations map[string]string
	// applied are the annotations that a spanctl wrote last.
	applied map[string]bool
	// gone is set when the Node's kubelet has stopped.
	gone bool
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
	// The API server takes versions from etcd, whose revisions grow with every change.
	n.version, _ = strconv.ParseUint(from.ResourceVersion, 10, 64)
	for _, c := range from.Status.Conditions {
		n.gone = n.gone || c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue
	}
	n.applied = appliedAnnotations(from)
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

// appliedAnnotations returns the annotations of a Node whose present values were written by
// a spanctl.
func appliedAnnotations(from *corev1.Node) map[string]bool {
	applied := map[string]bool{}
	for i := range from.ManagedFields {
		entry := &from.ManagedFields[i]
		if entry.Manager != fieldManager || entry.Operation != metav1.ManagedFieldsOperationApply || entry.FieldsV1 == nil {
			continue
		}
		var fields struct {
			Metadata struct {
				Annotations map[string]json.RawMessage `json:"f:annotations"`
			} `json:"f:metadata"`
		}
		if json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields) != nil {
			continue
		}
		for _, name := range annotations {
			if _, has := fields.Metadata.Annotations["f:"+name]; has {
				applied[name] = true
			}
		}
	}
	return applied
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

// isNewerThan reports whether n is a later state of the same Node than other. A nil n is not.
func (n *node) isNewerThan(other node) bool {
	return n != nil && n.uid == other.uid && other.version != 0 && n.version > other.version
}
