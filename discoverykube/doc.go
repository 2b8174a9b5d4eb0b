// Package discoverykube is the registry of the mesh in a Kubernetes cluster. Machines
// publish themselves in annotations of their Nodes, with the names that KubeSpan on Talos
// Linux uses, so that either reads the other's.
//
// Driver opens the registry (registry.go). Its client keeps the annotations of this
// machine's Node (publish.go) and follows the Nodes of the others (follow.go). Anyone who
// may annotate a Node can write anything, so annotation.go checks every value.
//
// client-go reads kubeconfigs, obtains credentials, lists and watches (kubeconfig.go,
// connection.go, transport.go). docs/decisions/client-libraries.md has the reasons and the
// costs.
//
// While the API server is unreachable, what was known stays.
package discoverykube
