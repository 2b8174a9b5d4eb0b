package discoveryhttp

import (
	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/reconciler/mesh"
)

// open decrypts what a service sent. What cannot be used is left out, and why is
// among the refused.
func (s *service) open(sealed []*serverpb.Affiliate) []mesh.Affiliate {
	affiliates := make([]mesh.Affiliate, 0, len(sealed))
	for _, one := range sealed {
		if one.GetId() == s.client.options.NodeID || len(one.GetData()) == 0 {
			continue // ourselves, or someone of whom only endpoints are known
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

// maxRefused bounds the memory of refusals.
const maxRefused = 1024

// refuse notes why an affiliate cannot be used; nil that it can.
func (s *service) refuse(id string, err error) {
	s.mu.Lock()
	before, known := s.refused[id]
	news := err != nil && before != err.Error() && (known || len(s.refused) < maxRefused)
	switch {
	case err == nil:
		delete(s.refused, id)
	case news:
		s.refused[id] = err.Error()
	}
	s.mu.Unlock()
	if news {
		s.client.changed()
	}
}
