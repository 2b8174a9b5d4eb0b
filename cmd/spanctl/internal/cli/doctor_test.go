package cli

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/doctor"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/schema"
)

// TestDoctorAsksAnAgentThatHangsOnce: its process has the socket, which is no answer.
func TestDoctorAsksAnAgentThatHangsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		s := &agentSession{AgentServiceClient: hanging{}, connector: &connector{globals: globals{socket: "/run/sock"}}}
		r := doctor.Request{ConfigPath: "machine.cue"}
		s.askForDoctor(t.Context(), &r)
		if took := time.Since(start); took != answerTimeout || r.Silent.Code != condition.NoAgent || r.ConfigPath != "machine.cue" {
			t.Errorf("after %v the request is %+v", took, r)
		}
	})
}

// damagedAgent is an agent that cannot read its identity.
type damagedAgent struct{ hanging }

func (damagedAgent) GetHealth(context.Context, *connect.Request[agentpb.GetHealthRequest]) (*connect.Response[agentpb.GetHealthResponse], error) {
	return connect.NewResponse(&agentpb.GetHealthResponse{Mesh: &agentpb.Mesh{Link: "kubespan"}, Conditions: []*agentpb.Condition{{Code: string(condition.IdentityDamaged)}}}), nil
}

func (damagedAgent) GetStatus(context.Context, *connect.Request[agentpb.GetStatusRequest]) (*connect.Response[agentpb.GetStatusResponse], error) {
	return connect.NewResponse(&agentpb.GetStatusResponse{ConfigPath: "/etc/other.cue"}), nil
}

func (damagedAgent) List(_ context.Context, req *connect.Request[agentpb.ListRequest]) (*connect.Response[agentpb.ListResponse], error) {
	if req.Msg.GetType() == resource.MachineConfigs.Aliases[0] {
		return configResource()
	}
	spec, err := structpb.NewStruct(map[string]any{"label": "db1", "why": "no endpoint of the peer has answered", "nextRound": "2026-11-28T12:00:00Z",
		"candidates": []any{map[string]any{"endpoint": "203.0.113.9:51820", "outcome": "no answer", "triedAt": "2026-11-28T11:59:00Z", "rtt": "11ms"}}})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&agentpb.ListResponse{Resources: []*agentpb.Resource{{Spec: spec}}}), nil
}

// configResource is the config in force, as an agent answers.
func configResource() (*connect.Response[agentpb.ListResponse], error) {
	config := &schema.Config{}
	k := config.KubeSpan()
	k.InterfaceName, k.ListenPort, k.FirewallMark, k.Relay.Offer = "kubespan", 51820, 1<<30, true
	config.Cluster.Secret = schema.SecretText("secret")
	text, err := json.Marshal(resource.MachineConfig{Config: config})
	if err != nil {
		return nil, err
	}
	spec := &structpb.Struct{}
	if err := spec.UnmarshalJSON(text); err != nil {
		return nil, err
	}
	return connect.NewResponse(&agentpb.ListResponse{Resources: []*agentpb.Resource{{Spec: spec}}}), nil
}

func TestDoctorAsksTheAgent(t *testing.T) {
	s := &agentSession{AgentServiceClient: damagedAgent{}, connector: &connector{}}
	r := doctor.Request{ConfigPath: "machine.cue"}
	s.askForDoctor(t.Context(), &r)
	if !r.IdentityInUse || r.ConfigPath != "/etc/other.cue" || r.Silent.Code != "" {
		t.Errorf("the request is %+v", r)
	}
	if len(r.Paths) != 1 || r.Paths[0].Label != "db1" || r.Paths[0].NextRound.IsZero() || len(r.Paths[0].Candidates) != 1 || r.Paths[0].Candidates[0].RTT != "11ms" {
		t.Errorf("the paths are %+v", r.Paths)
	}
}

// TestDoctorTakesTheConfigInForce is about a config file that is not valid.
func TestDoctorTakesTheConfigInForce(t *testing.T) {
	s := &agentSession{AgentServiceClient: damagedAgent{}, connector: &connector{}}
	r := doctor.Request{}
	s.askForDoctor(t.Context(), &r)
	if r.Earlier == nil {
		t.Fatal("the agent is not asked for it")
	}
	if k := r.Earlier.KubeSpan(); k.InterfaceName != "kubespan" || k.ListenPort != 51820 || k.FirewallMark != 1<<30 || !k.Relay.Offer {
		t.Errorf("the settings are %+v", k)
	}
}

func TestDoctorReadsTheIdentity(t *testing.T) {
	dir := t.TempDir()
	if damaged, fault := identityOf(dir); len(damaged) > 0 || fault != "" {
		t.Errorf("of an empty directory: %v, %q", damaged, fault)
	}
	if err := os.WriteFile(filepath.Join(dir, "kubespan-identity.yaml"), []byte("garbage\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if damaged, fault := identityOf(dir); len(damaged) != 1 || damaged[0].Code != condition.IdentityDamaged || damaged[0].Remedy == "" || fault != "" {
		t.Errorf("of a damaged file: %v, %q", damaged, fault)
	}
}

func TestSocketNamesItsProcess(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "sock")
	if pid, denied := agentPID(socket); pid != 0 || denied {
		t.Errorf("without a socket: %d, %v", pid, denied)
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	if pid, denied := agentPID(socket); pid != os.Getpid() || denied {
		t.Errorf("of this process: %d, %v", pid, denied)
	}
}
