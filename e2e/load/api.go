package main

import (
	"encoding/binary"
	"net/netip"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

const (
	service = "/sidero.discovery.server.Cluster/"
	// ttl is that of all updates, in seconds.
	ttl = 1800
	// dataSize is the length of an update's data, in bytes: that of a real affiliate.
	dataSize = 256
)

// affiliate is what a machine publishes.
type affiliate struct {
	cluster, id string
	data        []byte
	endpoints   [][]byte
}

// published returns an affiliate of the size of a real one, with data that begins with
// number.
func published(cluster, id string, number uint64) affiliate {
	data := make([]byte, dataSize)
	binary.LittleEndian.PutUint64(data, number)
	return affiliate{cluster, id, data, [][]byte{make([]byte, 32), append([]byte{1}, make([]byte, 31)...)}}
}

// stamped returns an affiliate with nothing but data that begins with the present time.
func stamped(cluster, id string) affiliate {
	a := published(cluster, id, uint64(time.Now().UnixNano()))
	a.endpoints = nil
	return a
}

// sentAt returns the time in the data of a stamped affiliate.
func sentAt(data []byte) time.Time {
	if len(data) < 8 {
		return time.Time{}
	}
	return time.Unix(0, int64(binary.LittleEndian.Uint64(data)))
}

func text(b []byte, number protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, number, protowire.BytesType), s)
}

func bytesField(b []byte, number protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, number, protowire.BytesType), v)
}

// updateRequest appends an encoded AffiliateUpdateRequest to b.
func updateRequest(b []byte, a affiliate) []byte {
	b = bytesField(text(text(b, 1, a.cluster), 2, a.id), 3, a.data)
	for _, e := range a.endpoints {
		b = bytesField(b, 4, e)
	}
	return bytesField(b, 5, protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), ttl))
}

// clusterRequest returns an encoded WatchRequest, ListRequest or HelloRequest.
func clusterRequest(cluster string) []byte { return text(nil, 1, cluster) }

// eachAffiliate calls f with the ID and data of each affiliate in an encoded
// WatchResponse or ListResponse.
func eachAffiliate(message []byte, f func(id, data []byte)) {
	eachBytes(message, func(number protowire.Number, affiliate []byte) {
		if number != 1 {
			return
		}
		var id, data []byte
		eachBytes(affiliate, func(number protowire.Number, value []byte) {
			switch number {
			case 1:
				id = value
			case 2:
				data = value
			}
		})
		f(id, data)
	})
}

// eachBytes calls f with the bytes fields of a message, up to its end or an error.
func eachBytes(message []byte, f func(number protowire.Number, value []byte)) {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return
		}
		message = message[n:]
		if n = protowire.ConsumeFieldValue(number, kind, message); n < 0 {
			return
		}
		if kind == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(message)
			f(number, value)
		}
		message = message[n:]
	}
}

// address returns the address of the i-th machine, on loopback. Servers count what each
// address does.
func address(i int) netip.Addr { return netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)}) }
