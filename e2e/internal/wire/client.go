package wire

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// Client is a well-behaved gRPC client of the protocol.
type Client struct{ conn *grpc.ClientConn }

// raw is a gRPC codec of messages that are encoded already.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error)   { return *v.(*[]byte), nil }
func (raw) Unmarshal(b []byte, v any) error { *v.(*[]byte) = append([]byte(nil), b...); return nil }
func (raw) Name() string                    { return "proto" }

// NewClient returns a client that connects by dial, and with config by TLS.
func NewClient(address string, config *tls.Config, dial func(context.Context) (net.Conn, error)) (Client, error) {
	transport := insecure.NewCredentials()
	if config != nil {
		transport = credentials.NewTLS(config)
	}
	retry := backoff.DefaultConfig
	retry.MaxDelay = time.Second
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(transport),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: retry, MinConnectTimeout: 5 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{})),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }))
	return Client{conn}, err
}

// Call calls a method other than Watch.
func (c Client) Call(ctx context.Context, method string, request []byte) (answer []byte, err error) {
	err = c.conn.Invoke(ctx, Service+method, &request, &answer)
	return answer, err
}

// Watch calls got with each message, until ctx ends or the server ends the stream.
func (c Client) Watch(ctx context.Context, cluster string, got func(message []byte)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, Service+"Watch")
	if err != nil {
		return err
	}
	request := ClusterRequest(cluster)
	if err := stream.SendMsg(&request); err != nil {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for {
		var message []byte
		if err := stream.RecvMsg(&message); err != nil {
			return err
		}
		got(message)
	}
}

// Close closes the connection.
func (c Client) Close() { _ = c.conn.Close() }
