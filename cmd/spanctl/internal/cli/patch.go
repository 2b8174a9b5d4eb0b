package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/schema"
)

// patchOptions are the flags of `spanctl patch`.
type patchOptions struct {
	patches patches
	apply   applyFlags
}

func newPatch(g *globals) *cobra.Command {
	o := &patchOptions{}
	cmd := agentCommand(g, eachNode, &cobra.Command{
		Use:   "patch -p PATCH",
		Short: "Change the machine's config by patches",
		Long: `Change the config where the agent reads it, by one patch or more, and keep its format
and its comments. A patch is text or, after @, the name of a file; in CUE, YAML or JSON.

A list is a JSON patch (RFC 6902). Anything else is merged, as by talosctl: structs
field by field; null or "$patch: delete" remove, "$patch: replace" puts the struct in
place of the old one; a list gets what it does not have yet, static peers are merged by
their names. An empty list empties a list; {} merges nothing; "", 0 and false are values
like any other. Of YAML with several documents, each is a patch.

If the config is changed by someone else meanwhile, the patch is made again on what is
there then.

What happens then is the mode:
` + modeHelp,
		Example: `  spanctl patch -p 'machine: network: kubespan: mtu: 1380'
  spanctl patch -p @site.yaml --mode try
  spanctl patch -p '[{"op": "remove", "path": "/machine/network/kubespan/mtu"}]' --dry-run`,
		Args: cobra.NoArgs,
	}, o.run)
	o.patches.flag(cmd)
	o.apply.flags(cmd, modeAuto)
	if err := cmd.MarkFlagRequired("patch"); err != nil {
		panic(err) // the flag is not there: no user can cause it
	}
	return cmd
}

// mostPatches is how often a patch is made again because the config was changed meanwhile. Each
// time somebody else's change was taken.
const mostPatches = 50

func (o *patchOptions) run(ctx context.Context, s *agentSession, _ []string) error {
	for again := 0; ; again++ {
		if err := o.patch(ctx, s); !isConflict(err) || again == mostPatches {
			return err
		}
	}
}

// patch patches the config that is stored now.
func (o *patchOptions) patch(ctx context.Context, s *agentSession) error {
	base, err := s.storedConfig(ctx)
	if err != nil {
		return err
	}
	source, err := o.patches.apply(ctx, s.streams, base)
	if err != nil {
		return err
	}
	return o.apply.applyOver(ctx, s, source, base.Data)
}

// storedConfig returns the machine's config as it is stored.
func (s *agentSession) storedConfig(ctx context.Context) (schema.Source, error) {
	response, err := call(ctx, s.GetConfig, &agentpb.GetConfigRequest{})
	if err != nil {
		return schema.Source{}, err
	}
	// Not nil: an empty config is a config too.
	return schema.Source{Name: response.GetFilename(), Data: append([]byte{}, response.GetConfig()...)}, nil
}
