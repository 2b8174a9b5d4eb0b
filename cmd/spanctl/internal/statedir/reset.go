package statedir

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"net"

	"go.yaml.in/yaml/v3"

	"github.com/spanmesh/span/reconciler/mesh"
)

// Reset is the replacement of the machine's identity.
type Reset struct {
	// NodeIDBefore and NodeID are the node IDs before and after.
	NodeIDBefore, NodeID string
	// KeyBefore and Key are the public keys before and after. KeyBefore is zero if the
	// machine had none.
	KeyBefore, Key mesh.Key
}

// newIdentity is the content of reset-identity.yaml. The file exists while an identity is
// being replaced. The identity has two files, and a loss of power between them would leave
// the node ID of one identity with the key of another.
type newIdentity struct {
	NodeID     string `yaml:"nodeId"`
	MAC        string `yaml:"mac"`
	PrivateKey string `yaml:"privateKey"`
}

// ResetIdentity replaces the machine's node ID, its key pair, the MAC that was generated for it, and
// the token of the agent's API. A damaged identity is replaced, too.
func (d *Dir) ResetIdentity() (Reset, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.finishReset(); err != nil {
		return Reset{}, err
	}
	r := Reset{}
	// What cannot be read is replaced all the same.
	if data, err := d.read(nodeFile); err == nil && data != nil {
		node, _ := parseNodeIdentity(data)
		r.NodeIDBefore = node.NodeID
	}
	if data, err := d.read(kubespanFile); err == nil && data != nil {
		if _, private, err := parseKubespanIdentity(data); err == nil {
			r.KeyBefore = private.Public()
		}
	}
	next, private, err := generateIdentity()
	if err != nil {
		return Reset{}, err
	}
	r.NodeID, r.Key = next.NodeID, private.Public()
	before, err := d.read(nodeFile)
	if err != nil {
		return Reset{}, err
	}
	if err := d.encode(resetFile, next); err != nil {
		return Reset{}, err
	}
	if err := d.finishReset(); err != nil {
		return Reset{}, d.abandonReset(before, err)
	}
	return r, nil
}

// abandonReset gives up a replacement of the identity that failed with err, if the node ID is still
// that of before: a full disk leaves the machine as it was. Later, finishReset completes it.
func (d *Dir) abandonReset(before []byte, err error) error {
	now, readErr := d.read(nodeFile)
	if readErr != nil || !bytes.Equal(now, before) {
		return fmt.Errorf("the identity is replaced in part, and wholly once the disk can be written: %w", err)
	}
	return errors.Join(err, d.remove(resetFile))
}

func generateIdentity() (newIdentity, mesh.PrivateKey, error) {
	id, err := mesh.NewNodeID(rand.Reader)
	if err != nil {
		return newIdentity{}, mesh.PrivateKey{}, err
	}
	mac, err := mesh.NewMAC(rand.Reader)
	if err != nil {
		return newIdentity{}, mesh.PrivateKey{}, err
	}
	private, err := mesh.NewPrivateKey(rand.Reader)
	return newIdentity{id, mac.String(), private.Reveal()}, private, err
}

// finishReset completes a replacement of the identity that a loss of power interrupted. The
// caller holds d.mu.
func (d *Dir) finishReset() error {
	data, err := d.read(resetFile)
	if err != nil || data == nil {
		return err
	}
	next, private, err := parseNewIdentity(data)
	if err != nil {
		return d.damaged(resetFile, err)
	}
	if err := d.encode(nodeFile, nodeIdentity{NodeID: next.NodeID, MAC: next.MAC}); err != nil {
		return err
	}
	// Identify fills in the addresses, which depend on the cluster.
	if err := d.encode(kubespanFile, kubespanIdentity{PrivateKey: next.PrivateKey, PublicKey: private.Public().String()}); err != nil {
		return err
	}
	// The machine that this one was copied from has the token, too. The next use makes another.
	if err := d.remove(tokenFile); err != nil {
		return err
	}
	return d.remove(resetFile)
}

func parseNewIdentity(data []byte) (newIdentity, mesh.PrivateKey, error) {
	var n newIdentity
	if err := decode(data, &n); err != nil {
		return newIdentity{}, mesh.PrivateKey{}, err
	}
	node, err := yaml.Marshal(nodeIdentity{NodeID: n.NodeID, MAC: n.MAC})
	if err != nil {
		return newIdentity{}, mesh.PrivateKey{}, fmt.Errorf("encode the node ID: %w", err)
	}
	if _, err := parseNodeIdentity(node); err != nil {
		return newIdentity{}, mesh.PrivateKey{}, err
	}
	if _, err := net.ParseMAC(n.MAC); err != nil {
		return newIdentity{}, mesh.PrivateKey{}, errors.New("has no mac")
	}
	private, err := mesh.ParsePrivateKey(n.PrivateKey)
	if err != nil || private.IsZero() {
		return newIdentity{}, mesh.PrivateKey{}, errors.New("privateKey is not the base64 of a WireGuard key of 32 bytes")
	}
	return n, private, nil
}
