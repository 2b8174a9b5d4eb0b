package discoverykube

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/mesh"
)

// written returns a Node whose annotations a manager wrote.
func written(name, manager string, version int, values map[string]string) node {
	var owned []string
	for name := range values {
		owned = append(owned, fmt.Sprintf("%q: {}", "f:"+name))
	}
	operation := metav1.ManagedFieldsOperationUpdate
	if manager == fieldManager {
		operation = metav1.ManagedFieldsOperationApply
	}
	return newNode(&corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: name, UID: "uid", ResourceVersion: fmt.Sprint(version), Annotations: values,
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: manager, Operation: operation,
			FieldsV1: metav1.NewFieldsV1(fmt.Sprintf(`{"f:metadata":{"f:annotations":{%s}}}`, strings.Join(owned, ",")))}},
	}})
}

// published returns the annotations of a machine with an address.
func published(id, address string) map[string]string {
	return encode(mesh.Affiliate{NodeID: id, Addresses: []netip.Addr{netip.MustParseAddr(address)}})
}

// newPublisher returns a client whose Node has what it has written.
func newPublisher() *client {
	c := newClient(options{nodeName: "own", nodeID: "id", log: slog.New(slog.DiscardHandler)}, cacheContent{})
	local := mesh.Affiliate{NodeID: "id", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}
	n := written("own", fieldManager, 5, encode(local))
	c.own, c.wanted, c.applied, c.applyResult = &n, &local, encode(local), n.annotations
	return c
}

func (c *client) codes() (codes []string) {
	for _, found := range c.Snapshot().Conditions {
		codes = append(codes, string(found.Code)+" "+found.Subject)
	}
	return codes
}

func TestAnotherAgentOnTheOwnNode(t *testing.T) {
	withoutID := published("id", "10.0.0.2")
	delete(withoutID, annotationNodeID)
	for name, c := range map[string]struct {
		after node
		want  string
	}{
		"nothing":                     {written("own", fieldManager, 6, published("id", "10.0.0.1")), ""},
		"an earlier state":            {written("own", fieldManager, 4, published("id", "10.0.0.2")), ""},
		"kubectl":                     {written("own", "kubectl-annotate", 6, published("id", "10.0.0.2")), ""},
		"an annotation was removed":   {written("own", fieldManager, 6, map[string]string{annotationNodeID: "id"}), ""},
		"all annotations removed":     {written("own", fieldManager, 6, nil), ""},
		"the node ID was removed":     {written("own", fieldManager, 6, withoutID), ""},
		"a clone":                     {written("own", fieldManager, 6, published("id", "10.0.0.2")), "IdentityCloned 10.0.0.2"},
		"another machine on the Node": {written("own", fieldManager, 6, published("other", "10.0.0.2")), "NodeShared own"},
	} {
		t.Run(name, func(t *testing.T) {
			client := newPublisher()
			client.update(c.after, false)
			now := time.Now()
			if isNew := client.noteRival(now); isNew != (c.want != "") || client.noteRival(now) {
				t.Errorf("new is %v", isNew)
			}
			if got := strings.Join(client.codes(), ", "); got != c.want {
				t.Errorf("conditions %q, want %q", got, c.want)
			}
			if client.expireRival(now.Add(rivalAge-1)) || client.expireRival(now.Add(rivalAge)) != (c.want != "") || len(client.codes()) != 0 {
				t.Error("the other agent is reported for ever, or too short")
			}
		})
	}
}

func TestOtherNodesWithTheOwnNodeID(t *testing.T) {
	c := newPublisher()
	c.update(written("copy", fieldManager, 6, published("id", "10.0.0.2")), false)
	if got := c.Snapshot().Conditions; len(got) != 1 || got[0].Code != condition.IdentityCloned || got[0].Subject != "copy" ||
		!strings.Contains(got[0].Cause, "10.0.0.2") {
		t.Errorf("conditions %v", got)
	}
	gone := written("copy", fieldManager, 7, published("id", "10.0.0.2"))
	gone.gone = true
	for name, n := range map[string]node{"its kubelet has stopped": gone, "it has another identity": written("copy", fieldManager, 8, published("new", "10.0.0.2"))} {
		c.update(written("copy", fieldManager, 6, published("id", "10.0.0.2")), false)
		if c.update(n, false); len(c.codes()) != 0 {
			t.Errorf("%s: %v", name, c.codes())
		}
	}
	c.update(written("copy", fieldManager, 9, published("id", "10.0.0.2")), false)
	if c.update(node{name: "copy"}, true); len(c.codes()) != 0 {
		t.Errorf("the Node was deleted: %v", c.codes())
	}
}

func TestKubeletThatStopped(t *testing.T) {
	for status, want := range map[corev1.ConditionStatus]bool{corev1.ConditionTrue: false, corev1.ConditionFalse: true, corev1.ConditionUnknown: true} {
		from := &corev1.Node{Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status}}}}
		if got := newNode(from).gone; got != want {
			t.Errorf("ready %s: gone is %v", status, got)
		}
	}
}

// TestFightsAreLimited has another program that changes the annotations again and again.
func TestFightsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, limit := newPublisher(), newDefence()
		c.update(written("own", "other", 6, nil), false)
		turn := func() time.Duration {
			began := time.Now()
			if !c.awaitTurn(t.Context(), limit) {
				t.Error("the turn never came")
			}
			return time.Since(began)
		}
		for range defenceBurst {
			if wait := turn(); wait != 0 {
				t.Errorf("waited %v", wait)
			}
		}
		if wait := turn(); wait < defenceInterval-time.Second {
			t.Errorf("waited %v, want %v", wait, defenceInterval)
		}
		// What the machine has to say itself is not held up, and the same again is nothing new.
		same := *c.wanted
		go func() {
			time.Sleep(time.Second)
			c.mu.Lock()
			c.wanted = &same
			c.mu.Unlock()
			notify(c.ownOutdated)
			time.Sleep(time.Second)
			c.mu.Lock()
			c.wanted = &mesh.Affiliate{NodeID: "id", Hostname: "x", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.3")}}
			c.mu.Unlock()
			notify(c.ownOutdated)
		}()
		if wait := turn(); wait != 2*time.Second {
			t.Errorf("waited %v, want 2s", wait)
		}
		time.Sleep(10 * defenceInterval)
		if wait := turn(); wait != 0 {
			t.Errorf("waited %v after a quiet time", wait)
		}
	})
}
