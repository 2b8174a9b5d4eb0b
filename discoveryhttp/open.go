package discoveryhttp

import (
	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/reconciler/mesh"
)

// open decrypts affiliates. It leaves out those that cannot be used, and keeps the reasons
// in refused.
func (s *service) open(sealed []*serverpb.Affiliate) []mesh.Affiliate {
	affiliates := make([]mesh.Affiliate, 0, len(sealed))
	for _, one := range sealed {
		if one.GetId() == s.client.options.NodeID || len(one.GetData()) == 0 {
			continue // this machine, or one of which only harvested endpoints are known
		}
		a, err := s.client.cipher.OpenAffiliate(one.GetId(), one.GetData())
		s.refuse(one.GetId(), err)
		if err != nil {
			continue
		}
		for _, raw := range one.GetEndpoints() {
			if e, err := s.client.cipher.OpenEndpoint(raw); err == nil {
				a.KubeSpan.Endpoints = append(a.KubeSpan.Endpoints, e)
			}
		}
		affiliates = append(affiliates, a)
	}
	return affiliates
}

// maxRefused bounds refused, which anyone who can publish could fill.
const maxRefused = 1024

// refuse sets the reason why an affiliate cannot be used; nil if it can.
func (s *service) refuse(id string, err error) {
	s.mu.Lock()
	before, known := s.refused[id]
	changed := err != nil && before != err.Error() && (known || len(s.refused) < maxRefused)
	switch {
	case err == nil:
		delete(s.refused, id)
	case changed:
		s.refused[id] = err.Error()
	}
	s.mu.Unlock()
	if changed {
		s.client.changed()
	}
}
