package reconciler_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/reconciler/static"
	"github.com/spanmesh/span/schema"
)

// storedKeys stores a machine's key, as a state directory does. A key is a number here.
type storedKeys struct {
	inUse, pending byte
	// nextErr and keepErr are the errors of storing.
	nextErr, keepErr error
}

// keyOf returns the private key of a number.
func keyOf(number byte) mesh.PrivateKey { return mesh.SecretKey([32]byte{16 + 8*number}) }

func (s *storedKeys) identityWith(number byte, clusterID string, host mesh.Host) (mesh.Identity, error) {
	id, err := identify(clusterID, host)
	id.PrivateKey = keyOf(number)
	id.PublicKey = id.PrivateKey.Public()
	return id, err
}

func (s *storedKeys) identify(clusterID string, host mesh.Host) (mesh.Identity, error) {
	return s.identityWith(s.inUse, clusterID, host)
}

func (s *storedKeys) rotation() reconciler.Rotation {
	return reconciler.Rotation{
		Next: func(clusterID string, host mesh.Host) (mesh.Identity, error) {
			if s.nextErr != nil {
				return mesh.Identity{}, s.nextErr
			}
			s.pending = s.inUse + 1
			return s.identityWith(s.pending, clusterID, host)
		},
		Keep: func() error {
			if s.keepErr == nil {
				s.inUse, s.pending = s.pending, 0
			}
			return s.keepErr
		},
		Discard: func() error { s.pending = 0; return nil },
	}
}

// announcedKeys returns the numbers of the keys that a registry has accepted.
func announcedKeys(r *fakeRegistry) (numbers []byte) {
	for _, a := range r.announced {
		for number := range byte(8) {
			if a.KubeSpan.PublicKey == keyOf(number).Public() {
				numbers = append(numbers, number)
			}
		}
	}
	return numbers
}

// TestRotationEndsWithOneKey fails a rotation at each of its steps, and checks that the key in use
// is the one that was announced last.
func TestRotationEndsWithOneKey(t *testing.T) {
	errFull := errors.New("no space left on device")
	phone := func(c schema.Config) *schema.Config {
		c.Cluster.Discovery.Registries.Static.Peers = []schema.StaticPeer{{Name: "phone", PublicKey: schema.StaticKey{7}}}
		return &c
	}
	for _, c := range []struct {
		name             string
		config           *schema.Config
		next, keep       error
		one, other       error
		force            bool
		inUse            byte
		announced        []byte
		wantErr, wantNot error
		untold           string
	}{
		{name: "all goes well", inUse: 1, announced: []byte{1}},
		{name: "the key cannot be stored: nothing is announced", next: errFull, wantErr: errFull},
		{name: "no registry takes it", one: errRefused, other: errRefused, wantErr: errRefused},
		{name: "the stored key cannot be put in place: the old one is announced again", keep: errFull, announced: []byte{1, 0}, wantErr: errFull},
		{name: "one of two registries takes it", other: errRefused, inUse: 1, announced: []byte{1}, untold: "registry other: refused"},
		{name: "forced where no registry takes it", one: errRefused, other: errRefused, force: true, inUse: 1, untold: "registry one: refused"},
		{name: "a static peer is named", config: phone(*config(t, "")), inUse: 1, announced: []byte{1}, untold: "by hand to the peers without an agent: phone"},
		{name: "static peers alone", config: withPhone(t, true), wantErr: reconciler.ErrNoPublisher},
		{name: "forced with static peers alone", config: withPhone(t, true), force: true, inUse: 1, untold: "by hand to the peers without an agent: phone"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.config == nil {
				c.config = config(t, "")
			}
			one, other := &fakeRegistry{announceErr: c.one}, &fakeRegistry{announceErr: c.other}
			d := discovery(one.driver("one"), other.driver("other"), static.Driver())
			if err := d.Open(c.config); err != nil {
				t.Fatal(err)
			}
			stored := &storedKeys{nextErr: c.next, keepErr: c.keep}
			engine := reconciler.NewEngine(&fakeKernel{}, stored.identify, &resource.Store{}, discard())
			r := stored.rotation()
			r.Force = c.force
			untold, err := reconciler.RotateKey(t.Context(), engine, d, c.config, r)
			if !errors.Is(err, c.wantErr) || (err == nil) != (c.wantErr == nil) {
				t.Errorf("got %v, want %v", err, c.wantErr)
			}
			if err != nil && !strings.Contains(err.Error(), "the key was not changed") {
				t.Errorf("%v does not say that the key stays", err)
			}
			if stored.inUse != c.inUse || stored.pending != 0 {
				t.Errorf("key %d is in use and %d pending, want %d and none", stored.inUse, stored.pending, c.inUse)
			}
			if got := announcedKeys(one); !slices.Equal(got, c.announced) {
				t.Errorf("announced were the keys %v, want %v", got, c.announced)
			}
			if (untold == nil) != (c.untold == "") || untold != nil && !strings.Contains(untold.Error(), c.untold) {
				t.Errorf("not told is %v, want %q", untold, c.untold)
			}
		})
	}
}

func TestRotateKeyOfALoop(t *testing.T) {
	withLoop(t, func(t *testing.T, r *running) {
		stored := &storedKeys{}
		if _, err := r.RotateKey(t.Context(), stored.rotation()); !errors.Is(err, reconciler.ErrNoConfig) {
			t.Errorf("without a config: %v", err)
		}
		if _, err := r.SetConfig(t.Context(), config(t, "")); err != nil {
			t.Fatal(err)
		}
		r.registry.announceErr = errRefused
		if _, err := r.RotateKey(t.Context(), stored.rotation()); !errors.Is(err, errRefused) || stored.inUse != 0 {
			t.Errorf("without discovery: key %d, %v", stored.inUse, err)
		}
		forced := stored.rotation()
		forced.Force = true
		if pass, err := r.RotateKey(t.Context(), forced); err != nil || stored.inUse != 1 || len(pass.Warnings) != 1 {
			t.Errorf("forced: key %d, %+v, %v", stored.inUse, pass, err)
		}
		r.registry.announceErr = nil
		pass, err := r.RotateKey(t.Context(), stored.rotation())
		if err != nil || stored.inUse != 2 || len(pass.Warnings) != 0 {
			t.Errorf("key %d, %+v, %v", stored.inUse, pass, err)
		}
		if got := announcedKeys(r.registry); !slices.Equal(got, []byte{2}) {
			t.Errorf("announced were the keys %v", got)
		}
	})
}

// A machine with another identity says so, and warns where nobody hears it.
func TestResetIdentityWarnsWhereNobodyIsTold(t *testing.T) {
	withLoop(t, func(t *testing.T, r *running) {
		if _, err := r.SetConfig(t.Context(), config(t, "")); err != nil {
			t.Fatal(err)
		}
		none := func() error { return nil }
		if pass, err := r.ResetIdentity(t.Context(), none); err != nil || len(pass.Warnings) != 0 || len(r.registry.announced) != 1 {
			t.Errorf("got %+v, %v, announced %+v", pass, err, r.registry.announced)
		}
		r.registry.announceErr = errRefused
		pass, err := r.ResetIdentity(t.Context(), none)
		if err != nil || len(pass.Warnings) != 1 || !strings.Contains(pass.Warnings[0], "not told of this one") {
			t.Errorf("got %+v, %v", pass, err)
		}
	})
}
