package discoverykube

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/spanmesh/span/reconciler/condition"
)

const (
	// defenceInterval and defenceBurst bound how often the own Node is written because
	// others changed it: a few times at once, then seldom.
	defenceInterval = 30 * time.Second
	defenceBurst    = 5
	// rivalAge is how long another agent on the own Node is reported after it last wrote.
	// Each of the two answers the other once in defenceInterval.
	rivalAge = 4 * defenceInterval
)

func newDefence() *rate.Limiter { return rate.NewLimiter(rate.Every(defenceInterval), defenceBurst) }

// rival is another agent that writes the own Node.
type rival struct {
	condition condition.Condition
	lastSeen  time.Time
}

// cloneOf returns the condition for a Node with this machine's node ID; the zero value for
// another Node. A Node whose kubelet has stopped may be this machine's under an earlier name.
func (c *client) cloneOf(n node) condition.Condition {
	a, found, _ := decode(n)
	if !found || n.gone || n.name == c.nodeName || a.NodeID != c.nodeID {
		return condition.Condition{}
	}
	return condition.Cloned(cmp.Or(a.Hostname, n.name), a.Addresses)
}

// changedByOthers reports whether the own Node has other annotations than after the last
// write. The caller holds c.mu.
func (c *client) changedByOthers() bool {
	return c.own != nil && c.applied != nil && !maps.Equal(c.own.annotations, c.applyResult)
}

// noteRival notes another agent that wrote the own Node, and reports whether it is new. A change
// by anything else, such as kubectl, is not an agent's. The caller holds c.mu.
func (c *client) noteRival(now time.Time) (isNew bool) {
	if !c.changedByOthers() || c.own.annotations[annotationNodeID] == "" {
		return false
	}
	differ := false
	for name, value := range c.own.annotations {
		if value == c.applyResult[name] {
			continue
		}
		if !c.own.applied[name] {
			return false
		}
		differ = true
	}
	if !differ {
		return false
	}
	a, _, _ := decode(*c.own)
	found := condition.Cloned("", a.Addresses) // it is on this machine's Node, under its name
	if a.NodeID != c.nodeID {
		found = condition.Condition{
			Code:    condition.NodeShared,
			Subject: c.nodeName,
			Cause:   fmt.Sprintf("another machine, with the node ID %s and the addresses %v, publishes itself on this machine's Node %s", a.NodeID, a.Addresses, c.nodeName),
			Remedy:  "set cluster.discovery.registries.kubernetes.nodeName to each machine's own Node",
		}
	}
	isNew = c.rival.condition != found
	c.rival = rival{found, now}
	return isNew
}

// expireRival forgets the other agent on the own Node when it has ended.
func (c *client) expireRival(now time.Time) (changed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rival == (rival{}) || now.Sub(c.rival.lastSeen) < rivalAge {
		return false
	}
	c.rival = rival{}
	return true
}

// conditions returns what is wrong. The caller holds c.mu.
func (c *client) conditions() []condition.Condition {
	conditions := slices.Collect(maps.Values(c.clones))
	if c.rival != (rival{}) {
		conditions = append(conditions, c.rival.condition)
	}
	return condition.Sort(conditions)
}
