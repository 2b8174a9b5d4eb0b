package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"
)

// client calls a server in one protocol, with as little work of its own as possible.
type client interface {
	update(ctx context.Context, cluster, id string, data []byte, endpoints [][]byte) error
	list(ctx context.Context, cluster string) error
	// watch calls got with the data of the affiliates of each message, until ctx ends.
	watch(ctx context.Context, cluster string, got func(data [][]byte)) error
	close()
}

// protocol is a protocol of the server.
type protocol struct {
	name string
	dial func(ctx context.Context, address string) (client, error)
}

var protocols = []protocol{{"gRPC", dialGRPC}, {"Connect with JSON", dialJSON}}

const (
	service = "/sidero.discovery.server.Cluster/"
	// ttl is that of all updates, in seconds.
	ttl = 1800
	// stampSize is the length of an update's data in a fanout, in bytes.
	stampSize = 256
)

// stamped returns data that begins with the present time.
func stamped() []byte {
	data := make([]byte, stampSize)
	binary.LittleEndian.PutUint64(data, uint64(time.Now().UnixNano()))
	return data
}

// sentAt returns the time in stamped data.
func sentAt(data []byte) time.Time {
	if len(data) < 8 {
		return time.Time{}
	}
	return time.Unix(0, int64(binary.LittleEndian.Uint64(data)))
}

// grpcClient encodes and decodes messages by hand.
type grpcClient struct{ conn *grpc.ClientConn }

// raw is a gRPC codec of messages that are encoded already.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error)   { return *v.(*[]byte), nil }
func (raw) Unmarshal(b []byte, v any) error { *v.(*[]byte) = append([]byte(nil), b...); return nil }
func (raw) Name() string                    { return "proto" }

func dialGRPC(_ context.Context, address string) (client, error) {
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{}), grpc.MaxCallRecvMsgSize(64<<20)))
	return grpcClient{conn}, err
}

func text(b []byte, number protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, number, protowire.BytesType), s)
}

func bytesField(b []byte, number protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, number, protowire.BytesType), v)
}

func (c grpcClient) update(ctx context.Context, cluster, id string, data []byte, endpoints [][]byte) error {
	request := bytesField(text(text(nil, 1, cluster), 2, id), 3, data)
	for _, e := range endpoints {
		request = bytesField(request, 4, e)
	}
	request = bytesField(request, 5, protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), ttl))
	var answer []byte
	return c.conn.Invoke(ctx, service+"AffiliateUpdate", &request, &answer)
}

func (c grpcClient) list(ctx context.Context, cluster string) error {
	request := text(nil, 1, cluster)
	var answer []byte
	return c.conn.Invoke(ctx, service+"List", &request, &answer)
}

func (c grpcClient) watch(ctx context.Context, cluster string, got func([][]byte)) error {
	stream, err := c.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, service+"Watch")
	if err != nil {
		return err
	}
	request := text(nil, 1, cluster)
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
		var all [][]byte
		for _, affiliate := range fields(message, 1) {
			all = append(all, fields(affiliate, 2)...)
		}
		got(all)
	}
}

func (c grpcClient) close() { _ = c.conn.Close() }

// fields returns the values of a bytes field.
func fields(message []byte, number protowire.Number) [][]byte {
	var out [][]byte
	for len(message) > 0 {
		n, kind, size := protowire.ConsumeTag(message)
		if size < 0 {
			return out
		}
		message = message[size:]
		value := protowire.ConsumeFieldValue(n, kind, message)
		if value < 0 {
			return out
		}
		if n == number && kind == protowire.BytesType {
			content, _ := protowire.ConsumeBytes(message)
			out = append(out, content)
		}
		message = message[value:]
	}
	return out
}

// jsonClient calls the server by Connect over HTTP/1.1 with JSON, as curl does.
type jsonClient struct {
	http *http.Client
	url  string
}

func dialJSON(_ context.Context, address string) (client, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: callers}
	return jsonClient{&http.Client{Transport: transport}, "http://" + address + service}, nil
}

func (c jsonClient) post(ctx context.Context, method, contentType string, body []byte) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+method, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", contentType)
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		detail, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		return nil, fmt.Errorf("%s: %s: %s", method, response.Status, detail)
	}
	return response, nil
}

func (c jsonClient) call(ctx context.Context, method string, request any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	response, err := c.post(ctx, method, "application/json", body)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	return err
}

func (c jsonClient) update(ctx context.Context, cluster, id string, data []byte, endpoints [][]byte) error {
	return c.call(ctx, "AffiliateUpdate", map[string]any{"clusterId": cluster, "affiliateId": id, "affiliateData": data,
		"affiliateEndpoints": endpoints, "ttl": fmt.Sprintf("%ds", ttl)})
}

func (c jsonClient) list(ctx context.Context, cluster string) error {
	return c.call(ctx, "List", map[string]string{"clusterId": cluster})
}

// watch reads a Connect stream, in which each message follows a byte of flags and
// four bytes of length.
func (c jsonClient) watch(ctx context.Context, cluster string, got func([][]byte)) error {
	body, err := json.Marshal(map[string]string{"clusterId": cluster})
	if err != nil {
		return err
	}
	body = append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))), body...)
	response, err := c.post(ctx, "Watch", "application/connect+json", body)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	for {
		head := make([]byte, 5)
		if _, err := io.ReadFull(response.Body, head); err != nil {
			return err
		}
		message := make([]byte, binary.BigEndian.Uint32(head[1:]))
		if _, err := io.ReadFull(response.Body, message); err != nil {
			return err
		}
		if head[0] != 0 {
			return fmt.Errorf("the stream ended: %s", message)
		}
		var m struct{ Affiliates []struct{ Data []byte } }
		if err := json.Unmarshal(message, &m); err != nil {
			return err
		}
		var all [][]byte
		for _, a := range m.Affiliates {
			all = append(all, a.Data)
		}
		got(all)
	}
}

func (c jsonClient) close() { c.http.CloseIdleConnections() }
