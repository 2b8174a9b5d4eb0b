package payload

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"

	"google.golang.org/protobuf/proto"

	"github.com/spanmesh/span/discoveryhttp/clientpb"
	"github.com/spanmesh/span/reconciler/mesh"
)

// ErrSealed is returned for data that was not sealed with this cluster's secret, or was
// changed since.
var ErrSealed = errors.New("cannot be decrypted with the cluster secret")

// Cipher seals and opens the payloads of one cluster.
type Cipher struct {
	block cipher.Block
	aead  cipher.AEAD
}

// NewCipher returns the cipher of the cluster with that secret.
func NewCipher(secret [32]byte) (*Cipher, error) {
	block, err := aes.NewCipher(secret[:])
	if err != nil {
		return nil, fmt.Errorf("make the cluster cipher: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("make the cluster cipher: %w", err)
	}
	return &Cipher{block: block, aead: aead}, nil
}

// SealAffiliate encodes and encrypts an affiliate and its stamp without its endpoints;
// SealEndpoint encrypts those. The result differs from call to call.
func (c *Cipher) SealAffiliate(a mesh.Affiliate, stamp Stamp) ([]byte, error) {
	message := encodeAffiliate(a)
	if err := checkNames(message); err != nil {
		return nil, fmt.Errorf("this machine %w", err)
	}
	stamp.encode(message)
	plain, err := proto.Marshal(message)
	if err != nil {
		return nil, fmt.Errorf("encode the affiliate: %w", err)
	}
	sealed := make([]byte, c.aead.NonceSize(), c.aead.NonceSize()+len(plain)+c.aead.Overhead())
	if _, err := rand.Read(sealed); err != nil {
		return nil, fmt.Errorf("read randomness for a nonce: %w", err)
	}
	return c.aead.Seal(sealed, sealed, plain, nil), nil
}

// maxSealed is the length of the longest sealed affiliate that is opened, in bytes.
// Discovery services take 2048.
const maxSealed = 64 << 10

// OpenAffiliate decrypts and decodes an affiliate and its stamp. ID is the node ID that the
// service has it under. An affiliate with another node ID is an error: the service, or anyone
// who can write to it, could otherwise pass off one machine as another.
func (c *Cipher) OpenAffiliate(id string, sealed []byte) (mesh.Affiliate, Stamp, error) {
	if len(sealed) < c.aead.NonceSize() {
		return mesh.Affiliate{}, Stamp{}, ErrSealed
	}
	if len(sealed) > maxSealed {
		return mesh.Affiliate{}, Stamp{}, fmt.Errorf("has %d bytes, want at most %d", len(sealed), maxSealed)
	}
	nonce, ciphertext := sealed[:c.aead.NonceSize()], sealed[c.aead.NonceSize():]
	plain, err := c.aead.Open(nil, nonce, ciphertext, nil)
	if err != nil {
		return mesh.Affiliate{}, Stamp{}, ErrSealed
	}
	var decoded clientpb.Affiliate
	if err := proto.Unmarshal(plain, &decoded); err != nil {
		return mesh.Affiliate{}, Stamp{}, fmt.Errorf("decode the affiliate: %w", err)
	}
	if decoded.GetNodeId() != id {
		return mesh.Affiliate{}, Stamp{}, fmt.Errorf("is sealed for node ID %.100q", decoded.GetNodeId())
	}
	stamp, err := decodeStamp(&decoded)
	if err != nil {
		return mesh.Affiliate{}, Stamp{}, err
	}
	a, err := decodeAffiliate(&decoded)
	return a, stamp, err
}

// SealEndpoint encrypts an endpoint; equal endpoints give equal bytes.
func (c *Cipher) SealEndpoint(e netip.AddrPort) ([]byte, error) {
	plain, err := proto.MarshalOptions{Deterministic: true}.Marshal(&clientpb.Endpoint{
		Ip:   e.Addr().AsSlice(),
		Port: uint32(e.Port()),
	})
	if err != nil {
		return nil, fmt.Errorf("encode the endpoint: %w", err)
	}
	size := c.block.BlockSize()
	padded := make([]byte, (1+len(plain)+size-1)/size*size)
	padded[0] = byte(len(plain))
	copy(padded[1:], plain)
	for i := 0; i < len(padded); i += size {
		c.block.Encrypt(padded[i:i+size], padded[i:i+size])
	}
	return padded, nil
}

// maxEndpoint is the length of the longest valid sealed endpoint, in bytes.
const maxEndpoint = 64

// OpenEndpoint is the inverse of SealEndpoint.
func (c *Cipher) OpenEndpoint(sealed []byte) (netip.AddrPort, error) {
	size := c.block.BlockSize()
	if len(sealed) == 0 || len(sealed)%size != 0 || len(sealed) > maxEndpoint {
		return netip.AddrPort{}, fmt.Errorf("a sealed endpoint has %d bytes, want 1 to 4 blocks of 16", len(sealed))
	}
	padded := make([]byte, len(sealed))
	for i := 0; i < len(sealed); i += size {
		c.block.Decrypt(padded[i:i+size], sealed[i:i+size])
	}
	length := int(padded[0])
	if length > len(padded)-1 {
		return netip.AddrPort{}, ErrSealed
	}
	for _, b := range padded[1+length:] {
		if b != 0 {
			return netip.AddrPort{}, ErrSealed
		}
	}
	var decoded clientpb.Endpoint
	if err := proto.Unmarshal(padded[1:1+length], &decoded); err != nil {
		return netip.AddrPort{}, ErrSealed
	}
	address, ok := netip.AddrFromSlice(decoded.GetIp())
	if !ok || decoded.GetPort() == 0 || decoded.GetPort() > 65535 {
		return netip.AddrPort{}, ErrSealed
	}
	return netip.AddrPortFrom(address.Unmap(), uint16(decoded.GetPort())), nil
}
