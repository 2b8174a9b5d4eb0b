package talos

import (
	"go.yaml.in/yaml/v3"

	"github.com/spanmesh/span/schema/generate"
)

const (
	kubespanEnabled  = kubespan + ".enabled"
	discoveryEnabled = discovery + ".enabled"
)

// complete adds what the file does not say, and checks what the settings mean together.
func (r *result) complete(o Options) error {
	if len(r.problems) > 0 {
		return nil
	}
	if first := r.origins[service+".endpoints[0]"]; len(r.services) == 1 {
		r.set(service+".endpoint", r.services[0], first)
	} else if len(r.services) > 1 {
		r.set(service+".endpoints", r.services, origin{})
	}
	if endpoints, ok := r.get(endpointFilter).([]any); ok && len(endpoints) == 0 {
		from := r.origins[endpointFilter]
		r.emptied = true
		r.set(endpointFilter, []any{"!0.0.0.0/0", "!::/0"}, from)
		r.warn(from.node, from.name, "is an empty list, with which Talos announces no address of the machine: it is written as [\"!0.0.0.0/0\", \"!::/0\"]")
	}
	r.enable(o.Enable)
	r.kubernetes()
	return r.identify(o)
}

// enable makes explicit whether KubeSpan and discovery are on. They stay off unless asked for.
func (r *result) enable(asked bool) {
	mesh, finds := r.get(kubespanEnabled) == true, r.get(discoveryEnabled) == true
	if mesh && !finds && !asked {
		from := r.origins[kubespanEnabled]
		r.problem(from.node, from.name, "is true, but discovery is off, which Talos refuses", "cluster.discovery.enabled: true in the Talos config, or --enable")
		return
	}
	r.state(kubespanEnabled, mesh || asked)
	r.state(discoveryEnabled, finds || asked)
	off := "KubeSpan is off in " + r.file
	switch {
	case mesh && finds:
		return
	case !mesh && !finds:
		off = "KubeSpan and discovery are off in " + r.file
	case mesh:
		off = "discovery is off in " + r.file
	}
	if !asked {
		r.notes = append(r.notes, off+", and so in the result")
		return
	}
	r.notes = append(r.notes, off+", and on in the result")
	if !finds && r.get(service+".endpoint") == nil && r.get(service+".disabled") != true {
		r.notes = append(r.notes, "discovery uses the public service https://discovery.talos.dev/, as in Talos, unless cluster.discovery.registries.service.endpoint is set")
	}
}

// state sets whether something is on. It keeps the place of a setting that the file has.
func (r *result) state(path string, on bool) {
	r.set(path, on, r.origins[path])
}

// kubernetes decides on the registry that Talos has on by default. It needs a kubeconfig, which no
// Talos config has.
func (r *result) kubernetes() {
	const from = discovery + ".registries.kubernetes"
	on := r.get(discoveryEnabled) == true
	at := r.sections["Kubernetes"]
	switch alone := r.get(service+".disabled") == true; {
	case on && alone && at != nil:
		r.set(from+".disabled", false, origin{from, at})
		r.warn(at, from, "needs a kubeconfig on this machine: set "+from+".kubeconfig in the result, see docs/kubernetes.md")
	case on && at != nil:
		r.warn(at, from, "is left out: it needs a kubeconfig on this machine, see docs/kubernetes.md")
	}
	if from := r.origins[kubespan+".advertiseKubernetesNetworks"]; r.get(kubespan+".advertiseKubernetesNetworks") == true {
		r.warn(from.node, from.name, "needs the Kubernetes Node of this machine: set cluster.discovery.registries.kubernetes.kubeconfig in the result, see docs/kubernetes.md")
	}
}

// identify adds a new cluster ID and secret, if that is asked for and the file has neither.
func (r *result) identify(o Options) error {
	hasID, hasSecret := r.get("cluster.id") != nil, r.get("cluster.secret") != nil
	if hasID && hasSecret || r.get(discoveryEnabled) != true || len(r.problems) > 0 {
		return nil
	}
	if o.NewSecrets == nil || hasID || hasSecret {
		missing, at := "cluster.id", r.origins[discoveryEnabled].node
		if hasID {
			missing, at = "cluster.secret", r.origins["cluster.id"].node
		}
		want := "that of the other Talos machines of the cluster"
		if !hasID && !hasSecret {
			want = "cluster.id and cluster.secret of the other Talos machines, or --new-secrets for a cluster that has none"
		}
		r.problem(at, missing, "is missing, but discovery needs it", want)
		return nil
	}
	secrets, err := generate.NewSecrets(o.NewSecrets)
	if err != nil {
		return err
	}
	none := origin{node: (*yaml.Node)(nil)}
	r.set("cluster.id", secrets.ID, none)
	r.set("cluster.secret", secrets.Secret.Reveal(), none)
	r.notes = append(r.notes, "cluster.id and cluster.secret are new: every machine of the cluster, also those with Talos, needs the same")
	return nil
}
