package interop

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Peer is a machine that joins a cluster as a Talos node does.
type Peer struct {
	// Target is the service's host:port, without TLS.
	Target string
	// Cluster and Secret are those of the config.
	Cluster, Secret string
	NodeID, Name    string
	PublicKey       string
	Address         netip.Addr
	MeshAddress     netip.Addr
	Endpoint        netip.AddrPort
	// Networks are advertised as they are, whatever they may be.
	Networks []netip.Prefix
}

// Run publishes the peer until ctx ends, and then removes it. It prints a line for each
// affiliate that it receives: "+ node-id hostname public-key mesh-address endpoint...", or
// "- node-id" for one that left.
func (p Peer) Run(ctx context.Context, out io.Writer) error {
	key, err := base64.StdEncoding.DecodeString(p.Secret)
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient("passthrough:///"+p.Target, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(rawCodec{}), grpc.WaitForReady(true)))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	call := func(ctx context.Context, method string, request message) (message, error) {
		in, answer := request.encode(), []byte{}
		if err := conn.Invoke(ctx, "/"+service+"/"+method, &in, &answer); err != nil {
			return nil, fmt.Errorf("%s: %w", method, err)
		}
		return decode(answer)
	}
	cluster := field{number: 1, bytes: []byte(p.Cluster)}
	hello, err := call(ctx, "Hello", message{cluster, {number: 2, bytes: []byte("talos")}})
	if err != nil {
		return err
	}
	seen, _ := netip.AddrFromSlice(hello.get(2).bytes)
	fmt.Fprintln(out, "seen at", seen)
	update, err := p.update(key)
	if err != nil {
		return err
	}
	if _, err := call(ctx, "AffiliateUpdate", append(message{cluster}, update...)); err != nil {
		return err
	}
	if err := p.watch(ctx, conn, key, cluster, out); ctx.Err() == nil {
		return err
	}
	leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_, err = call(leaving, "AffiliateDelete", message{cluster, {number: 2, bytes: []byte(p.NodeID)}})
	return err
}

// update is an AffiliateUpdateRequest without the cluster.
func (p Peer) update(key []byte) (message, error) {
	kubespan := message{{number: 1, bytes: []byte(p.PublicKey)}, {number: 2, bytes: p.MeshAddress.AsSlice()}}
	for _, n := range p.Networks {
		network := message{{number: 1, bytes: n.Addr().AsSlice()}, {number: 2, varint: uint64(n.Bits())}}
		kubespan = append(kubespan, field{number: 3, bytes: network.encode()})
	}
	plain := message{
		{number: 1, bytes: []byte(p.NodeID)},
		{number: 2, bytes: p.Address.AsSlice()},
		{number: 3, bytes: []byte(p.Name)},
		{number: 4, bytes: []byte(p.Name)},
		{number: 5, bytes: []byte("controlplane")},
		{number: 6, bytes: []byte("Talos (v1.11.0)")},
		{number: 7, bytes: kubespan.encode()},
		{number: 8, bytes: message{{number: 1, varint: 6443}}.encode()},
	}
	data, err := sealData(key, plain.encode())
	if err != nil {
		return nil, err
	}
	endpoint, err := sealEndpoint(key, p.Endpoint)
	if err != nil {
		return nil, err
	}
	const ttl = 30 * 60
	return message{{number: 2, bytes: []byte(p.NodeID)}, {number: 3, bytes: data}, {number: 4, bytes: endpoint},
		{number: 5, bytes: message{{number: 1, varint: ttl}}.encode()}}, nil
}

// watch prints what a watch receives until it ends.
func (p Peer) watch(ctx context.Context, conn *grpc.ClientConn, key []byte, cluster field, out io.Writer) error {
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/"+service+"/Watch")
	if err != nil {
		return err
	}
	request := message{cluster}.encode()
	if err := stream.SendMsg(&request); err != nil {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for {
		var raw []byte
		if err := stream.RecvMsg(&raw); err != nil {
			return err
		}
		response, err := decode(raw)
		if err != nil {
			return err
		}
		for _, encoded := range response.all(1) {
			line, err := p.describe(key, encoded, response.get(2).varint == 1)
			if err != nil {
				return err
			}
			if line != "" {
				fmt.Fprintln(out, line)
			}
		}
	}
}

// describe returns an affiliate on a line, or "" for the peer itself.
func (p Peer) describe(key, encoded []byte, deleted bool) (string, error) {
	outer, err := decode(encoded)
	if err != nil {
		return "", err
	}
	id := string(outer.get(1).bytes)
	switch {
	case id == p.NodeID:
		return "", nil
	case deleted:
		return "- " + id, nil
	}
	plain, err := openData(key, outer.get(2).bytes)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", id, err)
	}
	inner, err := decode(plain)
	if err != nil {
		return "", err
	}
	kubespan, err := decode(inner.get(7).bytes)
	if err != nil {
		return "", err
	}
	mesh, _ := netip.AddrFromSlice(kubespan.get(2).bytes)
	words := []string{"+", string(inner.get(1).bytes), string(inner.get(3).bytes), string(kubespan.get(1).bytes), mesh.String()}
	for _, sealed := range outer.all(3) {
		endpoint, err := openEndpoint(key, sealed)
		if err != nil {
			return "", fmt.Errorf("open an endpoint of %s: %w", id, err)
		}
		words = append(words, endpoint.String())
	}
	return strings.Join(words, " "), nil
}

// Flood publishes n affiliates to a service, several at a time. It prints the ID of each that
// was acknowledged, and ends with the first error.
func Flood(ctx context.Context, target, cluster string, n, atOnce int, out io.Writer) error {
	conn, err := grpc.NewClient("passthrough:///"+target, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(rawCodec{})))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i := range n {
		group.Go(func() error {
			id := fmt.Sprintf("affiliate-%d", i)
			in := message{{number: 1, bytes: []byte(cluster)}, {number: 2, bytes: []byte(id)}, {number: 3, bytes: []byte("sealed " + id)},
				{number: 5, bytes: message{{number: 1, varint: 600}}.encode()}}.encode()
			var answer []byte
			if err := conn.Invoke(ctx, "/"+service+"/AffiliateUpdate", &in, &answer); err != nil {
				return err
			}
			_, err := fmt.Fprintln(out, id)
			return err
		})
	}
	return group.Wait()
}
