package cli

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spanmesh/span/discoveryhttp/invitation"
	"github.com/spanmesh/span/discoveryhttp/invitepb"
	"github.com/spanmesh/span/discoveryhttp/store"
	"github.com/spanmesh/span/reconciler/human"
)

// inviteListOptions are the flags of `spanctl invite list`.
type inviteListOptions struct {
	input  configInput
	output string
}

func newInviteList() *cobra.Command {
	o := &inviteListOptions{}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the invitations of the cluster",
		Long: `List the invitations that the discovery servers of a machine config have of its cluster, the first to
expire first. Those that have expired are shown for a day.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), streamsOf(cmd)) },
	}
	o.input.sourceFlags(cmd, storedConfig())
	cmd.Flags().StringVarP(&o.output, "output", "o", outputTable, "output format: table or json")
	return cmd
}

// invited is an invitation at a server.
type invited struct {
	server inviteServer
	*invitepb.Invitation
}

// invitedOf returns all invitations of a config's cluster. Servers that keep none count as such, if
// another does.
func invitedOf(ctx context.Context, s streams, input *configInput) ([]invited, error) {
	config, err := memberConfig(ctx, s, input)
	if err != nil {
		return nil, err
	}
	servers, err := inviteServers(config)
	if err != nil {
		return nil, err
	}
	var all []invited
	var failures error
	answered := false
	for _, server := range servers {
		found, err := server.list(ctx)
		if err != nil {
			failures = errors.Join(failures, inviteError(err))
			continue
		}
		answered = true
		for _, one := range found {
			all = append(all, invited{server, one})
		}
	}
	if !answered {
		return nil, failures
	}
	if failures != nil {
		s.note("warning:", plain(failures.Error()))
	}
	return all, nil
}

func (i inviteServer) list(ctx context.Context) ([]*invitepb.Invitation, error) {
	ctx, stop := context.WithTimeout(ctx, inviteTimeout)
	defer stop()
	defer i.Close()
	return i.List(ctx, i.owner)
}

func (o *inviteListOptions) run(ctx context.Context, s streams) error {
	if err := oneOf("output", o.output, outputTable, outputJSON); err != nil {
		return err
	}
	all, err := invitedOf(ctx, s, &o.input)
	if err != nil {
		return err
	}
	if o.output == outputJSON {
		return printInvitedJSON(s, all)
	}
	if len(all) == 0 {
		s.note("there are no invitations")
		return nil
	}
	rows := [][]string{{"NAME", "USED", "STATE", "EXPIRES", "LAST TAKEN", "SERVER"}}
	for _, i := range all {
		taken := "-"
		if i.GetTaken() != nil {
			taken = human.Age(time.Now(), i.GetTaken().AsTime()) + " ago"
		}
		rows = append(rows, []string{shortName(i.GetName()), fmt.Sprintf("%d of %d", i.GetUsed(), i.GetUses()), i.state(time.Now()),
			i.GetExpires().AsTime().Local().Format(time.DateTime), taken, i.server.url})
	}
	return (&table{out: s.out}).print(rows...)
}

// state says whether the invitation can be taken, by this machine's clock.
func (i invited) state(now time.Time) string {
	switch {
	case !now.Before(i.GetExpires().AsTime()):
		return "expired"
	case i.GetUsed() >= i.GetUses():
		return "used"
	}
	return "open"
}

func printInvitedJSON(s streams, all []invited) error {
	type item struct {
		Name    string     `json:"name"`
		Server  string     `json:"server"`
		State   string     `json:"state"`
		Uses    uint32     `json:"uses"`
		Used    uint32     `json:"used"`
		Created time.Time  `json:"created"`
		Expires time.Time  `json:"expires"`
		Taken   *time.Time `json:"taken,omitempty"`
	}
	items := make([]item, len(all))
	for n, i := range all {
		items[n] = item{Name: hex.EncodeToString(i.GetName()), Server: i.server.url, State: i.state(time.Now()), Uses: i.GetUses(), Used: i.GetUsed(),
			Created: i.GetCreated().AsTime(), Expires: i.GetExpires().AsTime()}
		if i.GetTaken() != nil {
			taken := i.GetTaken().AsTime()
			items[n].Taken = &taken
		}
	}
	return writeJSON(s.out, struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Items      []item `json:"items"`
	}{apiVersion, "List", items}, "  ")
}

func newInviteRevoke() *cobra.Command {
	var input configInput
	cmd := &cobra.Command{
		Use:   "revoke NAME...",
		Short: "End invitations, so that no further machine joins with them",
		Long: `End invitations of the cluster. NAME is one that ` + "`spanctl invite list`" + ` shows, or its
beginning. Nothing is revoked if one of them is not there.

Machines that have joined stay in the mesh: they have its secret.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			return revoke(cmd.Context(), streamsOf(cmd), &input, names)
		},
	}
	input.sourceFlags(cmd, storedConfig())
	return cmd
}

func revoke(ctx context.Context, s streams, input *configInput, names []string) error {
	all, err := invitedOf(ctx, s, input)
	if err != nil {
		return err
	}
	var found []invited
	var failures error
	for _, name := range names {
		one, err := findInvited(all, name)
		if err != nil {
			failures = errors.Join(failures, err)
			continue
		}
		found = append(found, one)
	}
	if failures != nil {
		return failures
	}
	for _, i := range found {
		if err := i.revoke(ctx); err != nil {
			return err
		}
		if err := s.say("revoked", shortName(i.GetName())); err != nil {
			return err
		}
	}
	return nil
}

// findInvited returns the only invitation whose name begins so.
func findInvited(all []invited, begin string) (invited, error) {
	var found []invited
	for _, i := range all {
		if begin != "" && strings.HasPrefix(hex.EncodeToString(i.GetName()), strings.ToLower(begin)) {
			found = append(found, i)
		}
	}
	switch len(found) {
	case 0:
		return invited{}, fmt.Errorf("there is no invitation %q: `spanctl invite list` shows all", begin)
	case 1:
		return found[0], nil
	}
	return invited{}, fmt.Errorf("%d invitations begin with %q: give more of the name, as `spanctl invite list -o json` has it", len(found), begin)
}

func (i invited) revoke(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, inviteTimeout)
	defer stop()
	defer i.server.Close()
	err := i.server.Revoke(ctx, i.server.owner, store.InvitationName(i.GetName()))
	if errors.Is(err, invitation.ErrUnknown) {
		return nil // it is gone
	}
	return err
}
