// Package discoverykube is a machine's side of discovery through Kubernetes: what a
// discovery service would keep stands in the annotations of the cluster's Nodes, as
// KubeSpan on Talos Linux writes them.
//
// A Client keeps the annotations of this machine's Node (publish.go) and follows those of
// the others (follow.go). An affiliate becomes annotations and back in annotation.go; who
// may set annotations on a Node says what they like, so all of it is checked. The API
// server is spoken to with what a kubeconfig or a pod's service account says
// (access.go), in the few requests that are needed (api.go); docs/decisions/own-requests.md tells why
// client-go does not.
//
// When the API server is away, what was known stays. Client is safe for concurrent use.
package discoverykube
