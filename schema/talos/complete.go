package talos

import (
	"io"

	"github.com/spanmesh/span/schema/generate"
)

// complete adds settings that the file does not have.
func (r *result) complete(random io.Reader) error {
	switch len(r.endpoints) {
	case 0:
	case 1:
		r.set(r.file, "cluster.discovery.registries.service.endpoint", r.endpoints[0])
	default:
		r.set(r.file, "cluster.discovery.registries.service.endpoints", r.endpoints)
	}
	r.enable()
	return r.identify(random)
}

// enable enables KubeSpan and discovery where the file does not mention them.
func (r *result) enable() {
	kubespan := child(child(child(r.settings, "machine"), "network"), "kubespan")["enabled"] != nil
	discovery := child(child(r.settings, "cluster"), "discovery")["enabled"] != nil
	if !kubespan {
		r.set(r.file, "machine.network.kubespan.enabled", true)
	}
	if !discovery {
		r.set(r.file, "cluster.discovery.enabled", true)
	}
	switch {
	case !kubespan && !discovery:
		r.notes = append(r.notes, "the file has neither KubeSpan nor discovery: both are enabled in the result")
	case !kubespan:
		r.notes = append(r.notes, "the file has no KubeSpan: it is enabled in the result")
	case !discovery:
		r.notes = append(r.notes, "the file does not say whether discovery is enabled: it is in the result")
	}
}

// identify adds a new cluster ID and secret where the file has none.
func (r *result) identify(random io.Reader) error {
	cluster := child(r.settings, "cluster")
	if cluster["id"] != nil && cluster["secret"] != nil {
		return nil
	}
	secrets, err := generate.NewSecrets(random)
	if err != nil {
		return err
	}
	for _, one := range []struct{ name, text string }{{"id", secrets.ID}, {"secret", secrets.Secret.Reveal()}} {
		if cluster[one.name] != nil {
			continue
		}
		r.set(r.file, "cluster."+one.name, one.text)
		r.notes = append(r.notes, "cluster."+one.name+" is new: every machine of the cluster, also those with Talos, needs the same value")
	}
	return nil
}
