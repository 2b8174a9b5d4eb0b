package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spanmesh/span/cmd/spanctl/internal/agent"
)

const (
	// maxMetrics bounds the metrics that are read, in bytes: about 50,000 peers.
	maxMetrics = 64 << 20
	// metricsMode lets the collector read the file that is written for it.
	metricsMode = 0o644
)

// metricsOptions are the flags of `spanctl metrics`.
type metricsOptions struct{ write string }

func newMetrics(g *globals) *cobra.Command {
	o := &metricsOptions{}
	cmd := agentCommand(g, oneNode, &cobra.Command{
		Use:   "metrics",
		Short: "Print the agent's metrics in the format of Prometheus",
		Long: `Print the agent's metrics in the format of Prometheus. The agent serves the same at ` + agent.MetricsPath + `
on its socket, and where machine.metrics.listen says.

--write puts them into a file instead, for the textfile collector of node_exporter: the old file
is replaced at once by the whole new one. Name it *.prom. Without an agent the file stays as it is,
and the command fails: watch node_textfile_mtime_seconds.`,
		Args: cobra.NoArgs,
	}, o.run)
	cmd.Flags().StringVar(&o.write, "write", "", "write them to `FILE` instead")
	return cmd
}

func (o *metricsOptions) run(ctx context.Context, s *agentSession, _ []string) error {
	data, err := s.metrics(ctx)
	if err != nil {
		return fmt.Errorf("read the metrics: %w", err)
	}
	if o.write == "" {
		_, err := s.out.Write(data)
		return err
	}
	return writeFile(o.write, data, metricsMode)
}

// metrics returns the agent's metrics as text.
func (c *connector) metrics(ctx context.Context) (data []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, apiURL+agent.MetricsPath, http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, callError(err)
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	data, err = io.ReadAll(io.LimitReader(response.Body, maxMetrics))
	switch {
	case err != nil:
		return nil, err
	case response.StatusCode == http.StatusNotFound:
		return nil, errors.New("the agent has none: it is of an older version")
	case response.StatusCode != http.StatusOK:
		return nil, errors.New(strings.TrimSpace(string(data)))
	}
	return data, nil
}
