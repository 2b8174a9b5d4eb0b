package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/agentpb/agentpbconnect"
)

// API asks a machine's agent for its resources.
type API struct{ m *Machine }

// Specs are the specs of a type of resource by their IDs.
type Specs map[string]map[string]any

// httpClient returns a client of the agent's socket.
func (a API) httpClient() *http.Client {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", a.m.Socket())
	}}
	a.m.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// Client returns a client of the agent's API.
func (a API) Client() agentpbconnect.AgentServiceClient {
	return agentpbconnect.NewAgentServiceClient(a.httpClient(), "http://spanctl")
}

// Post calls a method with a request in JSON, as curl(1) does, and returns the answer.
func (a API) Post(method, body string) string {
	a.m.t.Helper()
	request, err := http.NewRequestWithContext(Context(a.m.t), http.MethodPost,
		"http://spanctl/spanctl.agent.v1.AgentService/"+method, strings.NewReader(body))
	if err != nil {
		a.m.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := a.httpClient().Do(request)
	if err != nil {
		a.m.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		a.m.t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK {
		a.m.t.Fatalf("%s %s: %s: %s", method, body, response.Status, text)
	}
	return Compact(string(text))
}

// Compact removes insignificant space from JSON. The encoder of protobuf varies it from
// build to build.
func Compact(text string) string {
	var out bytes.Buffer
	if err := json.Compact(&out, []byte(text)); err != nil {
		return text
	}
	return out.String()
}

// Await watches the resources of a type until enough reports true for their specs.
func (a API) Await(resource string, enough func(Specs) bool) {
	a.m.t.Helper()
	ctx, cancel := context.WithTimeout(a.m.t.Context(), Patience)
	defer cancel()
	if err := a.await(ctx, resource, enough); err != nil {
		a.m.t.Fatal(err)
	}
}

// AwaitAny does Await at several machines at the same time, until it is enough at one of them, and
// returns that.
func AwaitAny(t testing.TB, machines []*Machine, resource string, enough func(*Machine, Specs) bool) *Machine {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	type result struct {
		at  *Machine
		err error
	}
	results := make(chan result, len(machines))
	for _, m := range machines {
		go func() {
			results <- result{m, m.API.await(ctx, resource, func(specs Specs) bool { return enough(m, specs) })}
		}()
	}
	var failures []error
	for range machines {
		r := <-results
		if r.err == nil {
			return r.at
		}
		failures = append(failures, r.err)
	}
	t.Fatal(errors.Join(failures...))
	return nil
}

func (a API) await(ctx context.Context, resource string, enough func(Specs) bool) error {
	stream, err := a.Client().Watch(ctx, connect.NewRequest(&agentpb.WatchRequest{Type: resource}))
	if err != nil {
		return fmt.Errorf("watch %s of %s: %w", resource, a.m.Name, err)
	}
	specs := Specs{}
	for stream.Receive() {
		for _, e := range stream.Msg().GetEvents() {
			if e.GetDeleted() {
				delete(specs, e.GetResource().GetMetadata().GetId())
			} else {
				specs[e.GetResource().GetMetadata().GetId()] = e.GetResource().GetSpec().AsMap()
			}
		}
		if enough(specs) {
			return nil
		}
	}
	return fmt.Errorf("%s of %s never became what the test awaits: %w\nthe last were: %v", resource, a.m.Name, stream.Err(), specs)
}

// AwaitNoConditions waits until nothing is wrong. What is good to know may be there.
func (a API) AwaitNoConditions() {
	a.m.t.Helper()
	a.Await("conditions", func(specs Specs) bool {
		for _, spec := range specs {
			if spec["severity"] != "info" {
				return false
			}
		}
		return true
	})
}

// AwaitCondition waits until there is a condition of a code, and returns its spec.
func (a API) AwaitCondition(code string) (found map[string]any) {
	a.m.t.Helper()
	a.Await("conditions", func(specs Specs) bool {
		for _, spec := range specs {
			if spec["code"] == code {
				found = spec
			}
		}
		return found != nil
	})
	return found
}

// AwaitNoCondition waits until there is no condition of a code.
func (a API) AwaitNoCondition(code string) {
	a.m.t.Helper()
	a.Await("conditions", func(specs Specs) bool {
		for _, spec := range specs {
			if spec["code"] == code {
				return false
			}
		}
		return true
	})
}

// AwaitPeersUp waits until there are exactly n peers and all are up.
func (a API) AwaitPeersUp(n int) {
	a.m.t.Helper()
	a.Await("kubespanpeerstatuses", func(specs Specs) bool {
		for _, spec := range specs {
			if !IsUp(spec) {
				return false
			}
		}
		return len(specs) == n
	})
}

// AwaitPeer waits until enough reports true for the status of the peer with a label.
func (a API) AwaitPeer(label string, enough func(spec map[string]any) bool) {
	a.m.t.Helper()
	a.Await("kubespanpeerstatuses", func(specs Specs) bool {
		for _, spec := range specs {
			if spec["label"] == label && enough(spec) {
				return true
			}
		}
		return false
	})
}

// IsUp reports whether a peer's status is up.
func IsUp(spec map[string]any) bool { return spec["state"] == "up" }

// IsDown reports whether a peer's status is down.
func IsDown(spec map[string]any) bool { return spec["state"] == "down" }

// AwaitMember waits until the machine has a member with the name.
func (a API) AwaitMember(name string) {
	a.m.t.Helper()
	a.Await("members", func(specs Specs) bool { return specs[name] != nil })
}

// AwaitNetwork waits until a peer has a network among its allowed IPs.
func (a API) AwaitNetwork(label, network string) {
	a.m.t.Helper()
	a.Await("kubespanpeerspecs", func(specs Specs) bool {
		for _, spec := range specs {
			if spec["label"] == label && strings.Contains(fmt.Sprint(spec["allowedIPs"]), network) {
				return true
			}
		}
		return false
	})
}

// AwaitIdentity waits until the first pass has ended.
func (a API) AwaitIdentity() {
	a.m.t.Helper()
	a.Await("kubespanidentities", func(specs Specs) bool { return len(specs) == 1 })
}

// identity returns the spec of the machine's identity.
func (a API) identity() map[string]any {
	a.m.t.Helper()
	response, err := a.Client().List(Context(a.m.t), connect.NewRequest(&agentpb.ListRequest{Type: "kubespanidentity"}))
	if err != nil {
		a.m.t.Fatalf("list the identity of %s: %v", a.m.Name, err)
	}
	if n := len(response.Msg.GetResources()); n != 1 {
		a.m.t.Fatalf("%s has %d identities, want 1", a.m.Name, n)
	}
	return response.Msg.GetResources()[0].GetSpec().AsMap()
}

// MeshAddress returns the machine's address in the mesh.
func (a API) MeshAddress() netip.Addr {
	a.m.t.Helper()
	text, _ := a.identity()["address"].(string)
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		a.m.t.Fatal(err)
	}
	return prefix.Addr()
}

// AwaitMeshAddressNot waits until the machine's address in the mesh is another one than before.
func (a API) AwaitMeshAddressNot(before netip.Addr) {
	a.m.t.Helper()
	a.Await("kubespanidentities", func(specs Specs) bool {
		for _, spec := range specs {
			prefix, err := netip.ParsePrefix(fmt.Sprint(spec["address"]))
			return err == nil && prefix.Addr() != before
		}
		return false
	})
}

// PublicKey returns the machine's public key.
func (a API) PublicKey() string {
	a.m.t.Helper()
	key, _ := a.identity()["publicKey"].(string)
	return key
}
