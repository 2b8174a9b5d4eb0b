package cli

import (
	"context"
	"os"
	"os/signal"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/cmd/spanctl/internal/agent"
)

func newRun(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Be the machine's agent, until stopped",
		Long: `Be the machine's agent: follow the config file, discovery and the kernel, and keep
the mesh as they ask for. Stopping the agent leaves the mesh up; ` + "`spanctl down`" + ` takes
it down. SIGHUP reads the config file again. A service manager that listens
(sd_notify) is told when the mesh is there.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			stay()
			config, err := s.file()
			if err != nil {
				return err
			}
			machine, err := s.machine(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			reload := make(chan os.Signal, 1)
			signal.Notify(reload, unix.SIGHUP)
			defer signal.Stop(reload)
			defer context.AfterFunc(cmd.Context(), func() { notify(machine.Log, daemon.SdNotifyStopping) })()
			return agent.Run(cmd.Context(), agent.Options{Machine: machine, Config: config, Socket: s.socket, Reload: reload,
				Ready: func() { notify(machine.Log, daemon.SdNotifyReady) }})
		},
	}
}
