package interop

import (
	"google.golang.org/protobuf/encoding/protowire"
)

// message is a protobuf message as a list of fields: a number, and bytes or a varint.
type message []field

type field struct {
	number protowire.Number
	bytes  []byte
	varint uint64
}

// encode encodes a message. A field whose bytes are not nil is of type bytes.
func (m message) encode() []byte {
	var b []byte
	for _, f := range m {
		if f.bytes != nil {
			b = protowire.AppendTag(b, f.number, protowire.BytesType)
			b = protowire.AppendBytes(b, f.bytes)
		} else {
			b = protowire.AppendTag(b, f.number, protowire.VarintType)
			b = protowire.AppendVarint(b, f.varint)
		}
	}
	return b
}

// decode decodes a message. Unknown wire types are errors.
func decode(b []byte) (message, error) {
	var m message
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		b = b[n:]
		f := field{number: number}
		switch kind {
		case protowire.BytesType:
			f.bytes, n = protowire.ConsumeBytes(b)
			if f.bytes == nil {
				f.bytes = []byte{}
			}
		case protowire.VarintType:
			f.varint, n = protowire.ConsumeVarint(b)
		default:
			n = protowire.ConsumeFieldValue(number, kind, b)
		}
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		b = b[n:]
		m = append(m, f)
	}
	return m, nil
}

// get returns the last value of a field.
func (m message) get(number protowire.Number) field {
	for i := len(m) - 1; i >= 0; i-- {
		if m[i].number == number {
			return m[i]
		}
	}
	return field{}
}

// all returns the values of a repeated field.
func (m message) all(number protowire.Number) [][]byte {
	var out [][]byte
	for _, f := range m {
		if f.number == number {
			out = append(out, f.bytes)
		}
	}
	return out
}

// rawCodec passes encoded messages through grpc-go unchanged.
type rawCodec struct{}

func (rawCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }

func (rawCodec) Unmarshal(b []byte, v any) error {
	*v.(*[]byte) = append([]byte{}, b...)
	return nil
}

func (rawCodec) Name() string { return "proto" }

// service is the name of the discovery service.
const service = "sidero.discovery.server.Cluster"
