package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"

	"golang.org/x/sync/errgroup"
)

// jsonConnections is the number of connections that updates in JSON come on, with one call
// at a time on each.
const jsonConnections = connections * perConnection

// floodJSON sends n updates as curl does: by HTTP/1.1, in JSON.
func floodJSON(ctx context.Context, s *server, n, perCluster int) error {
	group, ctx := errgroup.WithContext(ctx)
	for k := range jsonConnections {
		group.Go(func() error {
			dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(address(k), 0))}
			socket, err := dialer.DialContext(ctx, "tcp", s.address)
			if err != nil {
				return err
			}
			context.AfterFunc(ctx, func() { _ = socket.Close() })
			in := bufio.NewReader(socket)
			for i := k; i < n; i += jsonConnections {
				request, err := jsonRequest(s.address, member(i, perCluster))
				if err != nil {
					return err
				}
				if _, err := socket.Write(request); err != nil {
					return err
				}
				if err := readAnswer(in); err != nil {
					return fmt.Errorf("update in JSON: %w", err)
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// jsonRequest returns the HTTP request of an update.
func jsonRequest(host string, a affiliate) ([]byte, error) {
	body, err := json.Marshal(map[string]any{"clusterId": a.cluster, "affiliateId": a.id, "affiliateData": a.data,
		"affiliateEndpoints": a.endpoints, "ttl": fmt.Sprintf("%ds", ttl)})
	head := fmt.Sprintf("POST %sAffiliateUpdate HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n",
		service, host, len(body))
	return append([]byte(head), body...), err
}

// readAnswer reads an HTTP response, and returns an error unless it is OK.
func readAnswer(in *bufio.Reader) error {
	response, err := http.ReadResponse(in, nil)
	if err != nil {
		return err
	}
	detail, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", response.Status, detail)
	}
	return err
}
