package cli

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/regular"
	"github.com/spanmesh/span/cmd/spanctl/internal/statedir"
	"github.com/spanmesh/span/cmd/spanctl/internal/support"
	"github.com/spanmesh/span/reconciler/human"
	"github.com/spanmesh/span/reconciler/resource"
)

// supportOptions are the flags of `spanctl support`.
type supportOptions struct {
	output, mode string
}

func newSupport(g *globals) *cobra.Command {
	o := &supportOptions{}
	cmd := &cobra.Command{
		Use:   "support",
		Short: "Write a support bundle: a zip archive that describes this machine's mesh",
		Long: `Write a zip archive with what somebody needs to find out what is wrong with the mesh
of this machine: status, conditions, resources, the plan of diff, events, the last 2,000 records of
the agent's log, routes, rules, nftables tables, sysctls, counters, stacks and versions. A README in
it says what each file is. Without an agent, or without root, there is less in it.

Secrets are never in it. What else is replaced:

  --anonymize default  names of machines, public, unique local and link-local addresses, public
                       keys, IDs and MACs become placeholders, the same one in every file
  --anonymize strict   private addresses and names of links and users, too
  --anonymize none     nothing else`,
		Example: "  spanctl support\n  spanctl support -o - --anonymize strict > bundle.zip",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd.Context(), g, cmd)
		},
	}
	cmd.Flags().StringVarP(&o.output, "output", "o", "", "zip file to write, - for standard output; by default one named by the time, in this directory")
	cmd.Flags().StringVar(&o.mode, "anonymize", string(support.Default), "what is replaced beside secrets: default, strict or none")
	_ = cmd.RegisterFlagCompletionFunc("anonymize", cobra.FixedCompletions(
		[]cobra.Completion{string(support.Default), string(support.Strict), string(support.None)}, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
	return cmd
}

func (o *supportOptions) run(ctx context.Context, g *globals, cmd *cobra.Command) error {
	if err := oneOf("anonymize", o.mode, string(support.Default), string(support.Strict), string(support.None)); err != nil {
		return err
	}
	if o.output != "" && o.output != standardOutput && !strings.EqualFold(filepath.Ext(o.output), ".zip") {
		return usageError{fmt.Errorf("--output is %q: the bundle is a zip file: want a name with .zip, or - for standard output", o.output)}
	}
	session, end := g.newSession(cmd)
	defer func() { _ = end() }() // nothing was changed
	now := time.Now()
	facts := support.Facts{Words: notNames()}
	facts.Names, facts.Links = hostNames(), linkNames()
	link := session.learn(ctx, g.stateDir, &facts)
	bundle := support.Read(ctx, append(session.supportFiles(), kernelFiles(link)...))
	bundle.Learn(&facts)
	var archive bytes.Buffer
	missing, err := bundle.Write(&archive, support.NewScrubber(support.Mode(o.mode), facts), now)
	if err != nil {
		return err
	}
	s := streamsOf(cmd)
	if len(missing) > 0 {
		s.note("missing or not complete:", human.Count(len(missing), "file")+"; README.txt in the bundle says why")
	}
	if o.output == standardOutput {
		_, err := io.Copy(s.out, &archive)
		return err
	}
	path := cmp.Or(o.output, "spanctl-support-"+now.UTC().Format("20060102T150405Z")+".zip")
	size := archive.Len()
	if err := writeFile(path, archive.Bytes(), 0o600); err != nil {
		return err
	}
	return s.say("wrote", path, "("+human.Bytes(int64(size))+"); look into it before you give it away")
}

// standardOutput is the -o that stands for standard output.
const standardOutput = "-"

// notNames are words that resources have in place of a name.
func notNames() []string {
	words := []string{"local", "machine", "service", "kubernetes", "static", "localhost", "spanctl", "kubespan", "worker", "controlplane", "discovery"}
	for _, t := range resource.Types {
		words = append(words, t.Aliases...)
	}
	return words
}

// hostNames returns the names of this machine.
func hostNames() []string {
	name, err := os.Hostname()
	if err != nil {
		return nil
	}
	short, _, _ := strings.Cut(name, ".")
	return []string{name, short}
}

// linkNames returns the names of the links that users may have chosen.
func linkNames() (names []string) {
	entries, err := os.ReadDir("/sys/class/net")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if e.Name() != "lo" && e.Name() != "kubespan" {
			names = append(names, e.Name())
		}
	}
	return names
}

// secretTypes are the types of resources that have secrets.
var secretTypes = []*resource.Type{resource.Identities, resource.MachineConfigs}

// learnTimeout is how long the agent has to say what the files are read with.
const learnTimeout = 5 * time.Second

// learn adds the secrets of the machine to facts, and returns the name of the mesh's link. An agent
// that does not answer is not waited for.
func (s *agentSession) learn(ctx context.Context, stateDir string, facts *support.Facts) (link string) {
	ctx, cancel := context.WithTimeout(ctx, learnTimeout)
	defer cancel()
	s.learnSecrets(ctx, facts)
	config := s.settings(ctx)
	learnTokens(config, stateDir, facts)
	return cmp.Or(text(at(config, "machine", "network", "kubespan"), "interfaceName"), "kubespan")
}

// maxTokenFile is the size of the largest file that a token is read from, in bytes.
const maxTokenFile = 8 << 10

// learnTokens adds the tokens of the API of this machine: that of the agent, and the one that the
// config names a file of.
func learnTokens(config map[string]any, stateDir string, facts *support.Facts) {
	for _, path := range []string{statedir.TokenPath(stateDir), text(at(config, "machine", "api"), "tokenFile")} {
		if token, err := regular.Read(path, maxTokenFile); err == nil {
			facts.Secrets = append(facts.Secrets, strings.TrimSpace(string(token)))
		}
	}
}

// learnSecrets asks for the secrets of the machine, which root is given, so that none is left in the
// bundle. Without them the bundle goes by what secrets look like.
func (s *agentSession) learnSecrets(ctx context.Context, facts *support.Facts) {
	for _, t := range secretTypes {
		response, err := call(ctx, s.List, &agentpb.ListRequest{Type: t.Aliases[0], Reveal: true})
		if err != nil {
			continue
		}
		for _, r := range response.GetResources() {
			if text, err := protojson.Marshal(r); err == nil {
				facts.Learn(text)
			}
		}
	}
}

// settings returns the settings in force, without secrets; nil for none.
func (s *agentSession) settings(ctx context.Context) map[string]any {
	response, err := call(ctx, s.List, &agentpb.ListRequest{Type: resource.MachineConfigs.Aliases[0]})
	if err != nil || len(response.GetResources()) == 0 {
		return nil
	}
	return response.GetResources()[0].GetSpec().AsMap()
}

// supportFiles returns the files that the API fills.
func (s *agentSession) supportFiles() []support.File {
	files := []support.File{
		{Name: "status.json", About: "what spanctl status shows: the state of the mesh and what is wrong with it", Read: answered(s.GetHealth, &agentpb.GetHealthRequest{})},
		{Name: "agent.json", About: "the version of the agent, its config file, and why that is not in force, if it is not", Read: answered(s.GetStatus, &agentpb.GetStatusRequest{})},
		{Name: "plan.json", About: "what spanctl diff shows: how the kernel differs from the config, and what is wrong", Read: answered(s.Diff, &agentpb.DiffRequest{})},
		{Name: "history.json", About: "when which config was in force, without their texts", Read: answered(s.History, &agentpb.HistoryRequest{})},
	}
	for _, t := range resource.Types {
		files = append(files, support.File{Name: "resources/" + t.Aliases[0] + ".json", About: lowerFirst(t.Description()),
			Read: func(ctx context.Context) ([]byte, error) { return s.listForSupport(ctx, t) }})
	}
	// One call has the log, the stacks and the usage.
	traces := sync.OnceValues(func() (*agentpb.GetSupportResponse, error) {
		ctx, cancel := context.WithTimeout(context.Background(), learnTimeout)
		defer cancel()
		return call(ctx, s.GetSupport, &agentpb.GetSupportRequest{})
	})
	part := func(text func(*agentpb.GetSupportResponse) string) func(context.Context) ([]byte, error) {
		return func(context.Context) ([]byte, error) {
			response, err := traces()
			if err != nil {
				return nil, err
			}
			return []byte(text(response)), nil
		}
	}
	return append(files,
		support.File{Name: "log.jsonl", About: "the last records of the agent's log, a line each", Read: part(func(r *agentpb.GetSupportResponse) string {
			return strings.Join(r.GetLog(), "\n")
		})},
		support.File{Name: "stacks.txt", About: "what the agent's goroutines are at, without arguments", Read: part((*agentpb.GetSupportResponse).GetStacks)},
		support.File{Name: "usage.json", About: "memory and goroutines of the agent", Read: part(func(r *agentpb.GetSupportResponse) string {
			text, _ := jsonText(r.GetUsage(), "") // numbers by name
			return text
		})},
	)
}

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }

// listForSupport lists the resources of a type as -o json does.
func (s *agentSession) listForSupport(ctx context.Context, t *resource.Type) ([]byte, error) {
	response, err := call(ctx, s.List, &agentpb.ListRequest{Type: t.Aliases[0]})
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	p := &printer{out: &out, format: format{name: outputJSON}}
	err = p.list(response.GetResources(), false)
	return out.Bytes(), err
}

// answered returns a File.Read that makes a call and returns the answer as JSON.
func answered[Q, R any](do caller[Q, R], request *Q) func(context.Context) ([]byte, error) {
	return func(ctx context.Context) ([]byte, error) {
		response, err := call(ctx, do, request)
		if err != nil {
			return nil, err
		}
		return protojson.Marshal(any(response).(proto.Message))
	}
}
