package cli

import (
	"context"
	"os"
	"os/signal"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/cmd/spanctl/internal/agent"
	"github.com/spanmesh/span/cmd/spanctl/internal/logrepeat"
	"github.com/spanmesh/span/cmd/spanctl/internal/logring"
)

// runOptions are the flags of `spanctl run`.
type runOptions struct {
	*globals
	input configInput
}

func newRun(g *globals) *cobra.Command {
	o := &runOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the machine's agent until stopped",
		Long: `Run the machine's agent: it follows the config file, discovery and the kernel, and
keeps the mesh as they ask for. Stopping it leaves the mesh up; ` + "`spanctl down`" + ` takes it
down. SIGHUP reads the config file again. Under systemd, readiness is notified
(sd_notify) when the mesh is up, then its health in a line, and that the agent's loop turns.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), streamsOf(cmd)) },
	}
	o.input.fileFlag(cmd, storedConfig())
	return cmd
}

func (o *runOptions) run(ctx context.Context, s streams) error {
	resetGC()
	go func() { _ = tuneGC(ctx, gcOfAgent) }()
	config, err := o.input.singleFile()
	if err != nil {
		return err
	}
	machine, err := o.machine(s.err)
	if err != nil {
		return err
	}
	records := &logring.Ring{}
	machine.Log = logrepeat.Limit(records.With(machine.Log))
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, unix.SIGHUP)
	defer signal.Stop(reload)
	defer context.AfterFunc(ctx, func() { notifySystemd(machine.Log, daemon.SdNotifyStopping) })()
	systemd := newSupervisor(machine.Log)
	go systemd.run(ctx)
	return agent.Run(ctx, agent.Options{Machine: machine, Config: config, Reload: reload, Records: records,
		Ready:  func() { notifySystemd(machine.Log, daemon.SdNotifyReady) },
		Turned: systemd.turned})
}
