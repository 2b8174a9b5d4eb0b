package statedir

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/mesh"
)

// nodeIdentity is the content of node-identity.yaml.
type nodeIdentity struct {
	NodeID string `yaml:"nodeId"`
	// MAC is generated once for a machine without a network card.
	MAC string `yaml:"mac,omitempty"`
}

// maxNodeID is the longest affiliate ID that discovery services take, in bytes.
const maxNodeID = 256

func parseNodeIdentity(data []byte) (nodeIdentity, error) {
	var n nodeIdentity
	if err := decode(data, &n); err != nil {
		return nodeIdentity{}, err
	}
	if n.NodeID == "" || len(n.NodeID) > maxNodeID {
		return nodeIdentity{}, fmt.Errorf("nodeId has %d characters; want 1 to %d", len(n.NodeID), maxNodeID)
	}
	if n.MAC != "" {
		if mac, err := net.ParseMAC(n.MAC); err != nil || len(mac) != 6 {
			return nodeIdentity{}, fmt.Errorf("mac %q is not like 02:00:5e:10:00:01", n.MAC)
		}
	}
	return n, nil
}

// kubespanIdentity is the content of kubespan-identity.yaml. All fields but the private
// key follow from it and are there for people to read.
type kubespanIdentity struct {
	Address    netip.Prefix `yaml:"address"`
	Subnet     netip.Prefix `yaml:"subnet"`
	PrivateKey string       `yaml:"privateKey"`
	PublicKey  string       `yaml:"publicKey"`
}

func parseKubespanIdentity(data []byte) (kubespanIdentity, mesh.PrivateKey, error) {
	var k kubespanIdentity
	if err := decode(data, &k); err != nil {
		return kubespanIdentity{}, mesh.PrivateKey{}, err
	}
	private, err := mesh.ParsePrivateKey(k.PrivateKey)
	if err != nil || private.IsZero() {
		return kubespanIdentity{}, mesh.PrivateKey{}, errors.New("privateKey is not the base64 of a WireGuard key of 32 bytes")
	}
	if k.PublicKey != private.Public().String() {
		return kubespanIdentity{}, mesh.PrivateKey{}, errors.New("publicKey is not the public half of privateKey")
	}
	return k, private, nil
}

// decode parses one YAML document and refuses unknown fields. It leaves out the parser's
// message, which may quote a private key.
func decode(data []byte, into any) error {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	err := decoder.Decode(into)
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("is empty")
	case err != nil:
		return errors.New("is not YAML with the fields of this file")
	}
	return nil
}

// damaged returns the error of an invalid identity file. The file is not overwritten: a private
// key could be lost.
func (d *Dir) damaged(name string, err error) error {
	return &condition.Error{Condition: d.damage(name, err)}
}

func (d *Dir) damage(name string, err error) condition.Condition {
	path := filepath.Join(d.path, name)
	return condition.Condition{
		Code:    condition.IdentityDamaged,
		Subject: path,
		Cause:   fmt.Sprintf("%s: %v", path, err),
		Remedy:  "restore it from a backup, or remove it for the machine to get a new identity",
	}
}

// Damaged returns a condition for each file of the identity that is not valid. It changes nothing, and
// needs no lock.
func (d *Dir) Damaged() ([]condition.Condition, error) {
	var found []condition.Condition
	for name, parse := range map[string]func([]byte) error{
		nodeFile:     func(data []byte) error { _, err := parseNodeIdentity(data); return err },
		kubespanFile: func(data []byte) error { _, _, err := parseKubespanIdentity(data); return err },
		resetFile:    func(data []byte) error { _, _, err := parseNewIdentity(data); return err },
	} {
		data, err := d.read(name)
		if err != nil {
			return nil, err
		}
		if data == nil {
			continue
		}
		if err := parse(data); err != nil {
			found = append(found, d.damage(name, err))
		}
	}
	slices.SortFunc(found, func(a, b condition.Condition) int { return cmp.Compare(a.Subject, b.Subject) })
	return found, nil
}

// NodeID returns the machine's node ID. It is generated on first use.
func (d *Dir) NodeID() (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	node, err := d.node()
	return node.NodeID, err
}

// node reads the node ID, or generates one. Every use of the identity starts here.
func (d *Dir) node() (nodeIdentity, error) {
	if err := d.finishReset(); err != nil {
		return nodeIdentity{}, err
	}
	data, err := d.read(nodeFile)
	if err != nil {
		return nodeIdentity{}, err
	}
	if data == nil {
		id, err := mesh.NewNodeID(rand.Reader)
		if err != nil {
			return nodeIdentity{}, err
		}
		node := nodeIdentity{NodeID: id}
		return node, d.encode(nodeFile, node)
	}
	node, err := parseNodeIdentity(data)
	if err != nil {
		return nodeIdentity{}, d.damaged(nodeFile, err)
	}
	return node, nil
}

func (d *Dir) encode(name string, content any) error {
	data, err := yaml.Marshal(content)
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	return d.write(name, data)
}

// Identify returns the machine's identity in a cluster. The node ID, the key and, for a
// host without a network card, the MAC are generated on first use and stored. It
// implements reconciler.Identify.
func (d *Dir) Identify(clusterID string, host mesh.Host) (mesh.Identity, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	node, err := d.node()
	if err != nil {
		return mesh.Identity{}, err
	}
	mac, err := d.mac(node, host)
	if err != nil {
		return mesh.Identity{}, err
	}
	before, private, err := d.key()
	if err != nil {
		return mesh.Identity{}, err
	}
	identity, err := mesh.NewIdentity(node.NodeID, private, clusterID, mac)
	if err != nil {
		return mesh.Identity{}, err
	}
	if now := contentOf(identity); now != before {
		err = d.encode(kubespanFile, now)
	}
	return identity, err
}

// contentOf returns the content of the file of an identity.
func contentOf(identity mesh.Identity) kubespanIdentity {
	return kubespanIdentity{
		Address:    identity.Address,
		Subnet:     identity.Subnet,
		PrivateKey: identity.PrivateKey.Reveal(),
		PublicKey:  identity.PublicKey.String(),
	}
}

// PublicKey returns the machine's public key. It is zero if there is none yet, or if it cannot be
// read.
func (d *Dir) PublicKey() mesh.Key {
	d.mu.Lock()
	defer d.mu.Unlock()
	data, err := d.read(kubespanFile)
	if err != nil || data == nil {
		return mesh.Key{}
	}
	_, private, err := parseKubespanIdentity(data)
	if err != nil {
		return mesh.Key{}
	}
	return private.Public()
}

// Rotation is a new key pair of the machine that is not in use yet.
type Rotation struct {
	dir      *Dir
	identity mesh.Identity
	// Before is the public key that the machine has until Keep.
	Before mesh.Key
}

// Rotate prepares a new key pair, for a reconciler.Rotation.
func (d *Dir) Rotate() *Rotation { return &Rotation{dir: d} }

// Next generates the key pair, stores it beside the one in use and returns the identity with it.
// It implements reconciler.Identify.
func (r *Rotation) Next(clusterID string, host mesh.Host) (mesh.Identity, error) {
	now, err := r.dir.Identify(clusterID, host)
	if err != nil {
		return mesh.Identity{}, err
	}
	private, err := mesh.NewPrivateKey(rand.Reader)
	if err != nil {
		return mesh.Identity{}, err
	}
	r.Before, r.identity = now.PublicKey, now
	r.identity.PrivateKey, r.identity.PublicKey = private, private.Public()
	r.dir.mu.Lock()
	defer r.dir.mu.Unlock()
	return r.identity, r.dir.encode(rotateFile, contentOf(r.identity))
}

// After returns the new public key.
func (r *Rotation) After() mesh.Key { return r.identity.PublicKey }

// Keep puts the stored key pair in place of the old. It needs no space on the disk.
func (r *Rotation) Keep() error {
	r.dir.mu.Lock()
	defer r.dir.mu.Unlock()
	return r.dir.rename(rotateFile, kubespanFile)
}

// Discard forgets the stored key pair. Lock does so with what an interrupted rotation has left.
func (r *Rotation) Discard() error {
	r.dir.mu.Lock()
	defer r.dir.mu.Unlock()
	return r.dir.remove(rotateFile)
}

// mac returns the address of the first network card, else the generated one.
func (d *Dir) mac(node nodeIdentity, host mesh.Host) (net.HardwareAddr, error) {
	if host.MAC != nil {
		return host.MAC, nil
	}
	if node.MAC != "" {
		return net.ParseMAC(node.MAC)
	}
	mac, err := mesh.NewMAC(rand.Reader)
	if err != nil {
		return nil, err
	}
	node.MAC = mac.String()
	return mac, d.encode(nodeFile, node)
}

// key reads the private key, or generates one, which Identify then stores.
func (d *Dir) key() (kubespanIdentity, mesh.PrivateKey, error) {
	data, err := d.read(kubespanFile)
	if err != nil {
		return kubespanIdentity{}, mesh.PrivateKey{}, err
	}
	if data == nil {
		private, err := mesh.NewPrivateKey(rand.Reader)
		return kubespanIdentity{}, private, err
	}
	k, private, err := parseKubespanIdentity(data)
	if err != nil {
		return k, private, d.damaged(kubespanFile, err)
	}
	return k, private, nil
}
