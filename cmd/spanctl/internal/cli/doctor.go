package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/agent"
	"github.com/spanmesh/span/cmd/spanctl/internal/configfile"
	"github.com/spanmesh/span/cmd/spanctl/internal/doctor"
	"github.com/spanmesh/span/cmd/spanctl/internal/evaluate"
	"github.com/spanmesh/span/cmd/spanctl/internal/peercred"
	"github.com/spanmesh/span/cmd/spanctl/internal/statedir"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/load"
)

// maxDoctorPeers is how many ways to peers a doctor looks at: each may take seconds.
const maxDoctorPeers = 8

func newDoctor(g *globals) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look this machine over for what keeps a mesh from working",
		Long: `Look this machine over for what keeps a mesh from working, with or without an agent and a
config, and change nothing. Each check is a line: ok, warn, fail or skip, its name, what was
found, and what to do. What is not known is skipped.

The checks are the agent, the config, the identity, rights, WireGuard and kernel modules, IPv6, rp_filter, forwarding, the
order of rules, who has the UDP port, the modes of files, the name, proxy, certificate, clock and
answer of each discovery service, the largest packet that passes to each of up to 8 peers, whether
UDP reaches this machine from outside, and whether there is a NAT. For the last two, a discovery
server of spanctl sends three datagrams to this machine. An agent adds the port that the router maps,
the relays, and what each endpoint of the first 8 peers that answer probes did.

The exit status is 0 if all is well, 1 if a check warns, and 2 if one fails, such as for a config
that is missing. With --host and --nodes the command runs on other machines, and its exit status
is the worst; 3 is that of a machine that is not reached, and of arguments that are not valid. With
--nodes, -o json prints one list, whose items have a node and its checks, or an error.`,
		Example:     "  spanctl doctor\n  spanctl doctor -o json\n  spanctl doctor -n root@web1,root@web2",
		Args:        cobra.NoArgs,
		Annotations: map[string]string{reachKey: string(oneList)},
		RunE: func(cmd *cobra.Command, args []string) error {
			switch err := oneOf("output", output, outputText, outputJSON); {
			case err != nil:
				return err
			case len(g.nodes) > 0:
				return g.runOnNodes(cmd, args)
			case g.host != "":
				return runThere(cmd, g.host)
			}
			return g.runDoctor(cmd, output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", outputText, "format of the output: text or json")
	withUsageStatus(cmd, exitNoAnswer)
	return cmd
}

func (g *globals) runDoctor(cmd *cobra.Command, output string) error {
	ctx, s := cmd.Context(), streamsOf(cmd)
	session, end := g.newSession(cmd)
	request := doctor.Request{Socket: g.socket, Wireguard: g.wireguard, Peers: session.pathsOfPeers, Start: agent.StartRemedy(), ConfigPath: storedConfig()}
	request.AgentPID, request.SocketDenied = agentPID(g.socket)
	if request.AgentPID != 0 {
		session.askForDoctor(ctx, &request)
	}
	request.Identity, request.IdentityFault = identityOf(g.stateDir)
	doctorConfig(ctx, &request)
	request.Files = agent.PrivateFiles(request.ConfigPath, request.Config, g.stateDir, g.socket)
	findings := doctor.Judge(doctor.Gather(ctx, request))
	if err := errors.Join(printFindings(s.out, output, findings), end()); err != nil {
		return err
	}
	if status := doctor.Status(findings); status != exitOK {
		return exitStatus(status)
	}
	return nil
}

// askForDoctor asks the agent what it knows. One that does not answer is asked once.
func (s *agentSession) askForDoctor(ctx context.Context, r *doctor.Request) {
	h, err := s.health(ctx, answerTimeout)
	if late := (*noAnswerError)(nil); errors.As(err, &late) {
		r.Silent = late.condition
		return
	}
	if err == nil {
		r.InForce, r.Mapping, r.Router = isEarlierInForce(h), mappingOf(h.GetMesh()), routerMappings(h.GetMesh())
		for _, c := range h.GetConditions() {
			found := condition.Condition{Code: condition.Code(c.GetCode()), Subject: c.GetSubject(), Cause: c.GetCause(), Remedy: c.GetRemedy()}
			switch found.Code {
			case condition.TunnelFiltered:
				r.Filtered = append(r.Filtered, found)
			case condition.RelayNotJoined:
				r.NotJoined = append(r.NotJoined, found)
			case condition.RelayNotServing:
				r.NotServing = append(r.NotServing, found)
			}
		}
		r.RouterFaults, r.BehindNAT, r.Relays = routerFaults(h.GetMesh()), mappingsBehindNAT(h.GetMesh()), relaysOf(h)
		r.Offered = offeredRelay(h)
		r.IdentityInUse = slices.ContainsFunc(h.GetConditions(), func(c *agentpb.Condition) bool { return c.GetCode() == string(condition.IdentityDamaged) })
	}
	ctx, stop := context.WithTimeout(ctx, answerTimeout)
	defer stop()
	r.Paths = s.pathsOf(ctx)
	if r.InForce || h.GetMesh() != nil {
		r.Earlier = s.configInForce(ctx)
	}
	if status, err := call(ctx, s.GetStatus, &agentpb.GetStatusRequest{}); err == nil {
		r.ConfigPath = status.GetConfigPath()
	}
}

// identityOf returns the files of the identity in a state directory that are damaged, or why that is
// not known.
func identityOf(stateDir string) (damaged []condition.Condition, fault string) {
	damaged, err := statedir.At(stateDir).Damaged()
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, "this user may not read the state directory " + stateDir
	case err != nil:
		return nil, err.Error()
	}
	return damaged, ""
}

// isEarlierInForce reports whether the agent works by an earlier config than that of the file: that is
// what makes a config that is missing or not valid a warning.
func isEarlierInForce(h *agentpb.GetHealthResponse) bool {
	return slices.ContainsFunc(h.GetConditions(), func(c *agentpb.Condition) bool {
		code := condition.Code(c.GetCode())
		return (code == condition.NoConfig || code == condition.ConfigInvalid) && condition.Severity(c.GetSeverity()) == condition.SeverityWarning
	})
}

// mappingOf returns what the agent knows of a NAT in front of the machine.
func mappingOf(m *agentpb.Mesh) mesh.Mapping {
	seen := mesh.Mapping{Kind: mesh.NAT(m.GetNat())}
	seen.Address, _ = netip.ParseAddr(m.GetMappedAddress()) // empty where nothing is known
	for _, port := range m.GetMappedPorts() {
		seen.Ports = append(seen.Ports, uint16(port))
	}
	return seen
}

// agentPID returns the process that has a socket; 0 for none, or if this user may not use it.
func agentPID(socket string) (pid int, denied bool) {
	conn, err := net.DialTimeout("unix", socket, dialTimeout)
	if err != nil {
		return 0, errors.Is(err, fs.ErrPermission)
	}
	defer func() { _ = conn.Close() }()
	if socket, is := conn.(*net.UnixConn); is {
		if credentials, err := peercred.Of(socket); err == nil {
			return int(credentials.Pid), false
		}
	}
	return 0, false
}

// doctorConfig reads the config of a request, whose secrets elsewhere are not read, and the path of
// the file; the config is nil with a reason, or with none if the file is missing.
func doctorConfig(ctx context.Context, r *doctor.Request) {
	name, data, err := configfile.At(r.ConfigPath).Read()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return
	case errors.Is(err, fs.ErrPermission):
		r.ConfigDenied = true
		return
	case err != nil:
		r.ConfigFault = err.Error()
		return
	}
	r.ConfigPath = name
	result, err := (&evaluate.Evaluator{}).Evaluate(ctx, evaluate.Request{Input: load.Input{Sources: []schema.Source{{Name: name, Data: data}}}})
	var problems schema.Problems
	switch {
	case errors.As(err, &problems) && len(problems) > 0:
		r.ConfigFault = problems[0].Error()
	case err != nil:
		r.ConfigFault = err.Error()
	default:
		r.Config = result.Config
	}
}

// pathsOfPeers has the agent measure the ways to the first peers, one after the other.
func (s *agentSession) pathsOfPeers(ctx context.Context) []doctor.Peer {
	response, err := call(ctx, s.List, &agentpb.ListRequest{Type: resource.PeerStatuses.Aliases[0]})
	if err != nil {
		return []doctor.Peer{{Name: "peers", Fault: err.Error()}}
	}
	var peers []doctor.Peer
	for i, r := range response.GetResources() {
		if i == maxDoctorPeers {
			return append(peers, doctor.Peer{Name: fmt.Sprintf("%d more peers", len(response.GetResources())-i), Fault: "`spanctl ping PEER --mtu`"})
		}
		status := r.GetSpec().AsMap()
		name, _ := status["label"].(string)
		up, relayed := status["state"] == "up", status["relay"] != nil || status["blindRelay"] != nil
		p := doctor.Peer{Name: name, Up: up && !relayed, Relayed: up && relayed}
		if status["state"] != "up" && status["relay"] == nil {
			p.Fault = fmt.Sprint("the peer is ", status["state"])
		} else if err := s.measurePath(ctx, r.GetMetadata().GetId(), &p); err != nil {
			p.Fault = err.Error()
		}
		peers = append(peers, p)
	}
	return peers
}

// doctorWait is how long the answer of a peer is waited for.
const doctorWait = time.Second

func (s *agentSession) measurePath(ctx context.Context, key string, p *doctor.Peer) error {
	stream, err := s.Ping(ctx, connect.NewRequest(&agentpb.PingRequest{Peer: key, Mtu: true, Wait: durationpb.New(doctorWait)}))
	if err != nil {
		return callError(err)
	}
	defer func() { _ = stream.Close() }()
	for stream.Receive() {
		m := stream.Msg().GetPathMtu()
		p.Answers, p.Full, p.Passes = m.GetAnswers(), int(m.GetFull()), int(m.GetPasses())
	}
	if err := stream.Err(); err != nil {
		return callError(err)
	}
	return nil
}

func printFindings(out io.Writer, output string, findings []doctor.Finding) error {
	if output == outputJSON {
		text, err := json.MarshalIndent(struct {
			APIVersion string           `json:"apiVersion"`
			Checks     []doctor.Finding `json:"checks"`
		}{"spanctl/v1", findings}, "", "  ")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(out, plainJSON(string(text)))
		return err
	}
	for _, f := range findings {
		if _, err := fmt.Fprintf(out, "%-4s %s\n", f.Grade, plain(f.String())); err != nil {
			return err
		}
	}
	return nil
}
