package talos

// Field is a field of a Talos machine config that Import takes.
type Field struct {
	// Document is the kind of the document; "v1alpha1" for that with a machine and a cluster.
	Document string
	// Name is the path in the document.
	Name string
	// Setting is the path of the setting that it becomes.
	Setting string
}

// Fields returns the fields that Import takes and that become a setting, by document.
func Fields() (list []Field) {
	for _, d := range []struct {
		document, below string
		settings        []setting
	}{
		{apiVersion, kubespan + ".", kubespanSettings},
		{apiVersion, kubespan + ".filters.", filterSettings},
		{apiVersion, "cluster.", clusterIdentity},
		{apiVersion, discovery + ".", discoverySettings},
		{apiVersion, service + ".", serviceSettings},
		{"KubeSpanConfig", "", kubespanSettings},
		{"KubeSpanConfig", "filters.", filterSettings},
		{"KubeSpanEndpointsConfig", "", endpointSettings},
		{"DiscoveryServiceConfig", "", []setting{{"endpoint", word, service + ".endpoint"}}},
		{"DiscoveryIdentityConfig", "", documentIdentity},
	} {
		for _, s := range d.settings {
			if s.to != "" {
				list = append(list, Field{d.document, d.below + s.name, s.to})
			}
		}
	}
	return list
}
