package interop

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"
)

// registry is a service that keeps affiliates in memory and never expires them.
type registry struct {
	mu       sync.Mutex
	clusters map[string]map[string]message
	// changed is closed and replaced with every change.
	changed chan struct{}
}

// Serve answers the protocol on a listener until ctx ends.
func Serve(ctx context.Context, listener net.Listener) error {
	r := &registry{clusters: map[string]map[string]message{}, changed: make(chan struct{})}
	unary := func(name string, do func(context.Context, message) message) grpc.MethodDesc {
		return grpc.MethodDesc{MethodName: name, Handler: func(_ any, ctx context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			var raw []byte
			if err := dec(&raw); err != nil {
				return nil, err
			}
			request, err := decode(raw)
			if err != nil {
				return nil, err
			}
			answer := do(ctx, request).encode()
			return &answer, nil
		}}
	}
	server := grpc.NewServer(grpc.ForceServerCodec(rawCodec{}))
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: service,
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{
			unary("Hello", hello), unary("AffiliateUpdate", r.update), unary("AffiliateDelete", r.remove), unary("List", r.list),
		},
		Streams: []grpc.StreamDesc{{StreamName: "Watch", ServerStreams: true, Handler: r.watch}},
	}, nil)
	stop := context.AfterFunc(ctx, server.Stop)
	defer stop()
	return server.Serve(listener)
}

func hello(ctx context.Context, _ message) message {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	address, err := netip.ParseAddrPort(p.Addr.String())
	if err != nil {
		return nil
	}
	return message{{number: 2, bytes: address.Addr().Unmap().AsSlice()}}
}

func (r *registry) update(_ context.Context, request message) message {
	r.mu.Lock()
	defer r.mu.Unlock()
	cluster, id := string(request.get(1).bytes), string(request.get(2).bytes)
	if r.clusters[cluster] == nil {
		r.clusters[cluster] = map[string]message{}
	}
	known := r.clusters[cluster][id]
	endpoints := known.all(3)
	for _, e := range request.all(4) {
		if !slices.ContainsFunc(endpoints, func(k []byte) bool { return string(k) == string(e) }) {
			endpoints = append(endpoints, e)
		}
	}
	next := message{{number: 1, bytes: []byte(id)}}
	if data := request.get(3).bytes; data != nil {
		next = append(next, field{number: 2, bytes: data})
	} else if data := known.get(2).bytes; data != nil {
		next = append(next, field{number: 2, bytes: data})
	}
	for _, e := range endpoints {
		next = append(next, field{number: 3, bytes: e})
	}
	r.clusters[cluster][id] = next
	r.announce()
	return nil
}

// announce wakes all watches. r.mu is held.
func (r *registry) announce() {
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *registry) remove(_ context.Context, request message) message {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.clusters[string(request.get(1).bytes)], string(request.get(2).bytes))
	r.announce()
	return nil
}

func (r *registry) list(_ context.Context, request message) message {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all message
	for _, a := range r.clusters[string(request.get(1).bytes)] {
		all = append(all, field{number: 1, bytes: a.encode()})
	}
	return all
}

// watch sends all affiliates, and then each that changes.
func (r *registry) watch(_ any, stream grpc.ServerStream) error {
	var raw []byte
	if err := stream.RecvMsg(&raw); err != nil {
		return err
	}
	request, err := decode(raw)
	if err != nil {
		return err
	}
	sent := map[string]string{}
	for first := true; ; first = false {
		r.mu.Lock()
		changed := r.changed
		var fresh, gone message
		now := r.clusters[string(request.get(1).bytes)]
		for id, a := range now {
			if encoded := a.encode(); sent[id] != string(encoded) {
				sent[id] = string(encoded)
				fresh = append(fresh, field{number: 1, bytes: encoded})
			}
		}
		for id := range sent {
			if now[id] == nil {
				delete(sent, id)
				gone = append(gone, field{number: 1, bytes: message{{number: 1, bytes: []byte(id)}}.encode()})
			}
		}
		r.mu.Unlock()
		if first || len(fresh) > 0 {
			encoded := fresh.encode()
			if err := stream.SendMsg(&encoded); err != nil {
				return err
			}
		}
		if len(gone) > 0 {
			encoded := append(gone, field{number: 2, varint: 1}).encode()
			if err := stream.SendMsg(&encoded); err != nil {
				return err
			}
		}
		select {
		case <-stream.Context().Done():
			return nil
		case <-changed:
		}
	}
}
