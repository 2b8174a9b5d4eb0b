package interop

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"net/netip"
)

// sealData encrypts an affiliate: nonce, then AES-256-GCM.
func sealData(key, plain []byte) ([]byte, error) {
	aead, err := gcm(key)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, 12)
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	return append(nonce, aead.Seal(nil, nonce, plain, nil)...), nil
}

func openData(key, sealed []byte) ([]byte, error) {
	aead, err := gcm(key)
	if err != nil {
		return nil, err
	}
	if len(sealed) < 12 {
		return nil, errors.New("shorter than a nonce")
	}
	return aead.Open(nil, sealed[:12], sealed[12:], nil)
}

func gcm(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// sealEndpoint encrypts a length byte, Endpoint{ip=1, port=2} and zeros, block by
// block.
func sealEndpoint(key []byte, endpoint netip.AddrPort) ([]byte, error) {
	plain := message{{number: 1, bytes: endpoint.Addr().AsSlice()}, {number: 2, varint: uint64(endpoint.Port())}}.encode()
	buffer := append([]byte{byte(len(plain))}, plain...)
	for len(buffer)%aes.BlockSize != 0 {
		buffer = append(buffer, 0)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(buffer); i += aes.BlockSize {
		block.Encrypt(buffer[i:], buffer[i:])
	}
	return buffer, nil
}

func openEndpoint(key, sealed []byte) (netip.AddrPort, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if len(sealed) == 0 || len(sealed)%aes.BlockSize != 0 {
		return netip.AddrPort{}, errors.New("no whole blocks")
	}
	plain := make([]byte, len(sealed))
	for i := 0; i < len(sealed); i += aes.BlockSize {
		block.Decrypt(plain[i:], sealed[i:])
	}
	if int(plain[0]) >= len(plain) {
		return netip.AddrPort{}, errors.New("a length past the end")
	}
	m, err := decode(plain[1 : 1+plain[0]])
	if err != nil {
		return netip.AddrPort{}, err
	}
	ip, ok := netip.AddrFromSlice(m.get(1).bytes)
	if !ok {
		return netip.AddrPort{}, errors.New("no IP address")
	}
	return netip.AddrPortFrom(ip, uint16(m.get(2).varint)), nil
}
