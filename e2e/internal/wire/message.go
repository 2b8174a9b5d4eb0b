package wire

import (
	"encoding/binary"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Service is the prefix of the paths of the protocol's methods.
const Service = "/sidero.discovery.server.Cluster/"

// The content types of the protocols.
const (
	TypeGRPC    = "application/grpc"
	TypeConnect = "application/connect+proto"
	TypeJSON    = "application/json"
)

func text(b []byte, number protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, number, protowire.BytesType), s)
}

func bytesField(b []byte, number protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, number, protowire.BytesType), v)
}

// ClusterRequest returns a request with a cluster's ID alone: a Hello, a List or a Watch.
func ClusterRequest(cluster string) []byte { return text(nil, 1, cluster) }

// UpdateRequest returns an AffiliateUpdate with a TTL in whole seconds.
func UpdateRequest(cluster, id string, ttl time.Duration, data []byte, endpoints ...[]byte) []byte {
	b := bytesField(text(text(nil, 1, cluster), 2, id), 3, data)
	for _, e := range endpoints {
		b = bytesField(b, 4, e)
	}
	return bytesField(b, 5, protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(ttl/time.Second)))
}

// DeleteRequest returns an AffiliateDelete.
func DeleteRequest(cluster, id string) []byte { return text(text(nil, 1, cluster), 2, id) }

// Framed returns a message with the prefix that gRPC and Connect's streams have: a byte of
// flags and the length.
func Framed(flags byte, message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{flags}, uint32(len(message))), message...)
}

// Affiliate is an affiliate in an answer of the server.
type Affiliate struct {
	ID   string
	Data []byte
}

// Affiliates decodes a ListResponse or a WatchResponse.
func Affiliates(message []byte) (all []Affiliate, deleted bool) {
	eachField(message, func(n protowire.Number, value []byte, number uint64) {
		switch n {
		case 1:
			var a Affiliate
			eachField(value, func(n protowire.Number, value []byte, _ uint64) {
				switch n {
				case 1:
					a.ID = string(value)
				case 2:
					a.Data = value
				}
			})
			all = append(all, a)
		case 2:
			deleted = number != 0
		}
	})
	return all, deleted
}

// eachField calls f with each field: the content of a field of bytes, or a number.
func eachField(message []byte, f func(n protowire.Number, value []byte, number uint64)) {
	for len(message) > 0 {
		n, kind, size := protowire.ConsumeTag(message)
		if size < 0 {
			return
		}
		message = message[size:]
		if size = protowire.ConsumeFieldValue(n, kind, message); size < 0 {
			return
		}
		switch kind {
		case protowire.BytesType:
			value, _ := protowire.ConsumeBytes(message)
			f(n, value, 0)
		case protowire.VarintType:
			number, _ := protowire.ConsumeVarint(message)
			f(n, nil, number)
		}
		message = message[size:]
	}
}
