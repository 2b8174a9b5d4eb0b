package schema

import (
	"fmt"
	"slices"
)

// FilterRemedy says how to write a filter that excludes something.
const FilterRemedy = `put "0.0.0.0/0" and "::/0" before what the filter excludes: the last entry that matches decides`

// Warnings returns what a valid config probably does not mean, each in a line with its setting and
// what would be right.
func (c *Config) Warnings() (warnings []string) {
	f := c.KubeSpan().Filters
	for _, one := range []struct {
		name    string
		filters []Filter
	}{{"endpoints", f.Endpoints}, {"peerEndpoints", f.PeerEndpoints}, {"peerNetworks", f.PeerNetworks}} {
		if fault := faultOf(one.filters); fault != "" {
			warnings = append(warnings, "machine.network.kubespan.filters."+one.name+" "+fault)
		}
	}
	if _, err := ParseKey(c.Cluster.ID); err != nil && c.Cluster.ID != "" {
		warnings = append(warnings, "cluster.id "+err.Error()+": it is used as written, and every machine of the cluster needs the same")
	}
	return warnings
}

// maxChecked is how many entries of a filter are compared, since the time grows with the square.
const maxChecked = 256

// faultOf returns what is probably wrong with a filter: that it lets nothing through, or the first
// exclusion of something that no entry before it includes.
func faultOf(filters []Filter) string {
	filters = filters[:min(len(filters), maxChecked)]
	passes, idle := false, ""
	for i, f := range filters {
		others := filters[:i]
		if !f.Exclude {
			others = filters[i+1:]
		}
		meets := slices.ContainsFunc(others, func(o Filter) bool {
			if f.Exclude {
				return !o.Exclude && o.Prefix.Overlaps(f.Prefix)
			}
			return o.Exclude && o.Prefix.Bits() <= f.Prefix.Bits() && o.Prefix.Overlaps(f.Prefix)
		})
		switch {
		case !f.Exclude:
			passes = passes || !meets
		case !meets && idle == "":
			idle = f.String()
		}
	}
	switch {
	case len(filters) > 0 && !passes && len(filters) < maxChecked:
		return "lets nothing through, since a filter starts from nothing: " + FilterRemedy
	case idle != "":
		return fmt.Sprintf("has %s where it excludes nothing, since no entry before it includes that: %s", idle, FilterRemedy)
	}
	return ""
}
