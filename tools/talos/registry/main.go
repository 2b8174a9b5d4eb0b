// Command registry runs Talos Linux' registry, which keeps affiliates in annotations of
// Kubernetes Nodes, as a program for tests. The registry is an internal package of Talos, so
// this program is built inside of Talos' module (make .tools/bin/talos-registry).
//
//	talos-registry KUBECONFIG NODE ID PUBLICKEY ADDRESS SELFIP ENDPOINT PREFIX
//
// It publishes one affiliate. When another affiliate changes, it prints a line: Node, ID,
// public key, mesh address, the machine's addresses, endpoints and prefixes.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/siderolabs/talos/internal/pkg/discovery/registry"
	"github.com/siderolabs/talos/pkg/kubernetes"
	"github.com/siderolabs/talos/pkg/machinery/resources/cluster"
	"go.uber.org/zap"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 8 {
		return errors.New("want 8 arguments")
	}
	config, err := clientcmd.BuildConfigFromFlags("", args[0])
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	own := cluster.NewAffiliate(cluster.NamespaceName, args[2])
	*own.TypedSpec() = cluster.AffiliateSpec{
		NodeID:    args[2],
		Nodename:  args[1],
		Addresses: []netip.Addr{netip.MustParseAddr(args[5])},
		KubeSpan: cluster.KubeSpanAffiliateSpec{
			PublicKey:           args[3],
			Address:             netip.MustParseAddr(args[4]),
			Endpoints:           []netip.AddrPort{netip.MustParseAddrPort(args[6])},
			AdditionalAddresses: []netip.Prefix{netip.MustParsePrefix(args[7])},
		},
	}
	r := registry.NewKubernetes(client)
	if err := r.Push(ctx, own); err != nil {
		return err
	}
	changes, stop, err := r.Watch(ctx, zap.NewNop())
	if err != nil {
		return err
	}
	defer stop()
	for range changes {
		others, err := r.List(args[1])
		if err != nil {
			return err
		}
		for _, a := range others {
			fmt.Println(a.Nodename, a.NodeID, a.KubeSpan.PublicKey, a.KubeSpan.Address, a.Addresses, a.KubeSpan.Endpoints, a.KubeSpan.AdditionalAddresses)
		}
	}
	return nil
}
