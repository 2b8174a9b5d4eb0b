package userspace

import (
	"reflect"
	"sync/atomic"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.zx2c4.com/wireguard/conn"
)

// bind is WireGuard's own bind, and sends to IPv6 from buffers of their own.
//
// In the one of this version, addresses that are sent to share buffers, and the buffer of an IPv4 address
// keeps its length: the next IPv6 address in it is cut to 4 bytes, and the packet goes elsewhere
// (https://github.com/WireGuard/wireguard-go/pull/135). TestBothFamilies fails where a version has other
// fields, and passes with conn.NewDefaultBind where the fault is mended.
type bind struct {
	*conn.StdNetBind
	// six has the sockets of the StdNetBind for IPv6, and buffers of its own.
	six atomic.Pointer[conn.StdNetBind]
	// routes counts the changes of routes.
	routes atomic.Uint64
}

// endpoint is where a packet came from. The source address for answers, which it has, holds until the
// routes change.
type endpoint struct {
	*conn.StdNetEndpoint
	routes uint64
}

func newBind() *bind { return &bind{StdNetBind: conn.NewStdNetBind().(*conn.StdNetBind)} }

// Open opens the sockets.
func (b *bind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	receive, actual, err := b.StdNetBind.Open(port)
	if err != nil {
		return nil, 0, err
	}
	six := conn.NewStdNetBind().(*conn.StdNetBind)
	for _, field := range []string{"ipv6", "ipv6PC", "ipv6TxOffload", "blackhole6"} {
		unexported(six, field).Set(unexported(b.StdNetBind, field))
	}
	b.six.Store(six)
	for i, f := range receive {
		receive[i] = b.noting(f)
	}
	return receive, actual, nil
}

// unexported returns a field of a bind, which can be set.
func unexported(b *conn.StdNetBind, name string) reflect.Value {
	field := reflect.ValueOf(b).Elem().FieldByName(name)
	return reflect.NewAt(field.Type(), unsafe.Pointer(field.UnsafeAddr())).Elem()
}

// noting returns a function that receives, and notes at which routes.
func (b *bind) noting(receive conn.ReceiveFunc) conn.ReceiveFunc {
	return func(packets [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		routes := b.routes.Load()
		n, err := receive(packets, sizes, eps)
		for i := range n {
			if e, ok := eps[i].(*conn.StdNetEndpoint); ok {
				eps[i] = &endpoint{e, routes}
			}
		}
		return n, err
	}
}

// ParseEndpoint returns the endpoint of a text.
func (b *bind) ParseEndpoint(text string) (conn.Endpoint, error) {
	e, err := b.StdNetBind.ParseEndpoint(text)
	if err != nil {
		return nil, err
	}
	return &endpoint{e.(*conn.StdNetEndpoint), b.routes.Load()}, nil
}

// Send sends packets to an endpoint. Where the routes have changed since a packet came from it, the
// kernel chooses the source address anew.
func (b *bind) Send(packets [][]byte, to conn.Endpoint) error {
	e, ok := to.(*endpoint)
	if !ok {
		return conn.ErrWrongEndpointType
	}
	std := e.StdNetEndpoint
	if e.routes != b.routes.Load() {
		std = &conn.StdNetEndpoint{AddrPort: std.AddrPort}
	}
	if six := b.six.Load(); six != nil && std.DstIP().Is6() {
		return six.Send(packets, std)
	}
	return b.StdNetBind.Send(packets, std)
}

// followRoutes notes changes of routes until done is closed.
func (b *bind) followRoutes(done <-chan struct{}) error {
	updates := make(chan netlink.RouteUpdate, 64)
	if err := netlink.RouteSubscribe(updates, done); err != nil {
		return err
	}
	go func() { // ends with the subscription
		for range updates {
			b.routes.Add(1)
		}
	}()
	return nil
}
