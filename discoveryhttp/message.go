package discoveryhttp

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// What a client accepts of a service. A hostile service could otherwise exhaust this machine's
// memory: two bytes of protobuf are an empty affiliate, which decodes to more than a hundred.
const (
	// maxMessage bounds a message of a stream, in bytes. It is read in parts of maxChunk. Package
	// server splits snapshots at 3 MiB, and Talos nodes receive 4 MiB.
	maxMessage = 64 << 20
	// maxChunk bounds what is decoded at once, in bytes. It is more than the largest affiliate.
	maxChunk = 128 << 10
	// maxUnary bounds a message that is not of a stream, in bytes.
	maxUnary = 1 << 20
	// maxAnswer bounds every other message, the headers, and the text of an error, in bytes.
	maxAnswer = 64 << 10
	// maxAffiliates bounds the affiliates that are decoded at once. The smallest sealed one has
	// 100 bytes, so that a chunk has fewer.
	maxAffiliates = 16 << 10
	// maxParts bounds the parts of a snapshot. A cluster of 10,000 affiliates of the largest size
	// has 360 of maxChunk.
	maxParts = 1024
	// maxID bounds the ID of an affiliate, in bytes. Services accept 256.
	maxID = 256
	// maxData bounds the sealed data of an affiliate, in bytes. Services accept 2048.
	maxData = 16 << 10
	// maxSealedEndpoints bounds the endpoints of an affiliate. Services accept 64.
	maxSealedEndpoints = 512
	// maxEndpoint bounds a sealed endpoint, in bytes. It is a multiple of endpointBlock.
	maxEndpoint   = 64
	endpointBlock = 16
)

// The fields of the messages, which are those of serverpb.
const (
	fieldAffiliates = 1     // of ListResponse and WatchResponse
	fieldDeleted    = 2     // of WatchResponse
	fieldMore       = 18001 // of WatchResponse

	fieldID        = 1 // of Affiliate
	fieldData      = 2
	fieldEndpoints = 3
)

// message is what a service answers to Watch and List.
type message struct {
	affiliates []sealed
	// deleted is set if the affiliates were removed. Then only their IDs are set.
	deleted bool
	// more is set if the next message has another part of the snapshot. Only package server
	// sets it.
	more bool
}

// sealed is an affiliate as a service has it.
type sealed struct {
	id        string
	data      []byte
	endpoints [][]byte
	// fault is why the affiliate cannot be used; nil for none. Then only id is set, and may be
	// a quotation of what the service sent.
	fault error
}

// unmarshal decodes a message without more memory than a few times its length. It keeps no
// reference to wire.
func (m *message) unmarshal(wire []byte) error {
	*m = message{}
	return eachField(wire, func(number protowire.Number, kind protowire.Type, value []byte) error {
		switch {
		case number == fieldAffiliates && kind == protowire.BytesType:
			return m.add(value)
		case number == fieldDeleted && kind == protowire.VarintType:
			m.deleted = isTrue(value)
		case number == fieldMore && kind == protowire.VarintType:
			m.more = isTrue(value)
		}
		return nil
	})
}

func (m *message) add(wire []byte) error {
	if len(m.affiliates) == maxAffiliates {
		return fmt.Errorf("has more than %d affiliates", maxAffiliates)
	}
	a, err := decodeSealed(wire)
	if err != nil {
		return err
	}
	m.affiliates = append(m.affiliates, a)
	return nil
}

// decodeSealed decodes an affiliate. Anyone with the cluster ID can publish one, so that one
// that is not acceptable is no fault of the service: only it is left out.
func decodeSealed(wire []byte) (sealed, error) {
	var f affiliateFields
	if err := eachField(wire, f.take); err != nil {
		return sealed{}, err
	}
	if len(f.id) == 0 {
		return sealed{}, errors.New("has an affiliate without an ID")
	}
	id, ok := checkID(f.id)
	switch {
	case !ok:
		return sealed{id: id, fault: fmt.Errorf("has a node ID of %d bytes that is too long or has characters that cannot be printed", len(f.id))}, nil
	case len(f.data) > maxData:
		return sealed{id: id, fault: fmt.Errorf("has %d bytes, want at most %d", len(f.data), maxData)}, nil
	case f.count > maxSealedEndpoints:
		return sealed{id: id, fault: fmt.Errorf("has %d endpoints, want at most %d", f.count, maxSealedEndpoints)}, nil
	}
	a := sealed{id: id, data: bytes.Clone(f.data)}
	for _, e := range f.endpoints {
		a.endpoints = append(a.endpoints, bytes.Clone(e))
	}
	return a, nil
}

// affiliateFields are the fields of an encoded affiliate, as parts of it.
type affiliateFields struct {
	id, data []byte
	// endpoints are those of count that members may have sealed.
	endpoints [][]byte
	count     int
}

// take takes a field.
func (f *affiliateFields) take(number protowire.Number, kind protowire.Type, value []byte) error {
	switch {
	case kind != protowire.BytesType:
	case number == fieldID:
		f.id = value
	case number == fieldData:
		f.data = value
	case number == fieldEndpoints:
		f.count++
		if canOpen(value) && f.count <= maxSealedEndpoints {
			f.endpoints = append(f.endpoints, value)
		}
	}
	return nil
}

// canOpen reports whether an endpoint has a length that members seal.
func canOpen(endpoint []byte) bool {
	return len(endpoint) > 0 && len(endpoint)%endpointBlock == 0 && len(endpoint) <= maxEndpoint
}

// checkID reports whether an ID can be shown to people and is not too long. Otherwise name is
// the quoted beginning of it, and "..." if that is not all.
func checkID(id []byte) (name string, ok bool) {
	const shown = 64
	if len(id) <= maxID && utf8.Valid(id) && !bytes.ContainsFunc(id, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return string(id), true
	}
	if len(id) > shown {
		return fmt.Sprintf("%+q...", id[:shown]), false
	}
	return fmt.Sprintf("%+q", id), false
}

// idsNamed returns the IDs for which checkID returns a name: the name itself, and the ID of which
// it is a quotation. It returns an error if the quotation is not whole.
func idsNamed(name string) ([]string, error) {
	ids := []string{name}
	if quoted, cut := strings.CutSuffix(name, `"...`); cut && strings.HasPrefix(quoted, `"`) {
		return nil, errors.New("its ID is too long to be given: it goes when its TTL ends, or with another client")
	}
	if id, err := strconv.Unquote(name); err == nil {
		if again, printable := checkID([]byte(id)); !printable && again == name {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// isTrue reports whether the value of a varint field is not zero.
func isTrue(value []byte) bool {
	v, _ := protowire.ConsumeVarint(value)
	return v != 0
}

// eachField calls do for each field of an encoded message, in order. Value is that of a field
// of bytes without its length, and the encoding of any other.
func eachField(wire []byte, do func(number protowire.Number, kind protowire.Type, value []byte) error) error {
	for len(wire) > 0 {
		number, kind, n := protowire.ConsumeTag(wire)
		if n < 0 {
			return protowire.ParseError(n)
		}
		wire = wire[n:]
		if n = protowire.ConsumeFieldValue(number, kind, wire); n < 0 {
			return protowire.ParseError(n)
		}
		value := wire[:n]
		if kind == protowire.BytesType {
			value, _ = protowire.ConsumeBytes(value)
		}
		if err := do(number, kind, value); err != nil {
			return err
		}
		wire = wire[n:]
	}
	return nil
}

// codec is the protobuf encoding for connect. It checks what it decodes.
type codec struct{}

// Name implements connect.Codec.
func (codec) Name() string { return "proto" }

// Marshal implements connect.Codec.
func (codec) Marshal(m any) ([]byte, error) {
	encoded, ok := m.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("a %T is not sent", m)
	}
	return proto.Marshal(encoded)
}

// Unmarshal implements connect.Codec.
func (codec) Unmarshal(wire []byte, m any) error {
	switch m := m.(type) {
	case *message:
		if err := m.unmarshal(wire); err != nil {
			return refuse("the service sends a message that is not acceptable: %v", err)
		}
		return nil
	case proto.Message:
		if len(wire) > maxAnswer {
			return fmt.Errorf("has %d bytes, want at most %d", len(wire), maxAnswer)
		}
		return proto.Unmarshal(wire, m)
	default:
		return fmt.Errorf("a %T is not received", m)
	}
}
