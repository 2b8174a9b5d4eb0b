package etcd

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"strings"
)

// The keys below the prefix of a Store, as doc.go has them.
const (
	clustersKey = "c/"
	pinsKey     = "p/"
	readyKey    = "ready"
	// invitationsKey and sealedKey begin those of an invitation.
	invitationsKey = "i/"
	sealedKey      = "s/"
)

// The keys of an affiliate, below its prefix.
const (
	dataKey     = "d"
	callerKey   = "c"
	endpointKey = "e/"
)

// ownEndpoint is the value of an endpoint that came with data. That of others is empty.
const ownEndpoint = "o"

// hashOf returns the name of a cluster in keys.
func hashOf(clusterID string) string {
	sum := sha256.Sum256([]byte(clusterID))
	return hex.EncodeToString(sum[:])
}

// clusterKey returns the prefix of all keys of a cluster.
func (s *Store) clusterKey(cluster string) string { return s.prefix + clustersKey + cluster + "/" }

// affiliateKey returns the prefix of all keys of an affiliate.
func (s *Store) affiliateKey(cluster, id string) string {
	return s.clusterKey(cluster) + hex.EncodeToString([]byte(id)) + "/"
}

// pinKey returns the key of a cluster's pin.
func (s *Store) pinKey(cluster string) string { return s.prefix + pinsKey + cluster }

// parseAffiliateKey returns the affiliate of a key below the prefix of its cluster, and the key
// below that of the affiliate: dataKey, callerKey, or endpointKey and the endpoint. ok is false
// for a key that this package does not write.
func parseAffiliateKey(key string) (id, field string, ok bool) {
	affiliate, field, found := strings.Cut(key, "/")
	raw, err := hex.DecodeString(affiliate)
	if err != nil || !found {
		return "", "", false
	}
	return string(raw), field, field == dataKey || field == callerKey || parseEndpoint(field) != nil
}

// parseEndpoint returns the endpoint of a key below that of its affiliate; nil for another key.
func parseEndpoint(field string) []byte {
	text, isEndpoint := strings.CutPrefix(field, endpointKey)
	if !isEndpoint || text == "" {
		return nil
	}
	endpoint, err := hex.DecodeString(text)
	if err != nil {
		return nil
	}
	return endpoint
}

// callerID is a caller in etcd: the beginning of the hash of its address. The zero value is
// nobody.
type callerID [8]byte

func callerOf(address netip.Addr) callerID {
	if !address.IsValid() {
		return callerID{}
	}
	return hashedCaller(address.AsSlice())
}

// hashedCaller returns the caller at an address in bytes.
func hashedCaller(address []byte) callerID {
	sum := sha256.Sum256(address)
	return callerID(sum[:len(callerID{})])
}

// parseCaller returns the caller in the value of a callerKey.
func parseCaller(value []byte) callerID {
	if len(value) != len(callerID{}) {
		return callerID{}
	}
	return callerID(value)
}
