package discoveryhttp_test

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spanmesh/span/discoveryhttp"
	"github.com/spanmesh/span/discoveryhttp/payload"
	"github.com/spanmesh/span/discoveryhttp/server"
	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/discoveryhttp/serverpb/serverpbconnect"
	"github.com/spanmesh/span/discoveryhttp/store"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/condition"
)

// attacker writes to a service by hand.
type attacker struct {
	t *testing.T
	serverpbconnect.ClusterClient
}

func (s *service) attack() attacker {
	return attacker{s.t, serverpbconnect.NewClusterClient(http.DefaultClient, s.url())}
}

// delete deletes the machine a.
func (a attacker) delete() {
	a.t.Helper()
	_, err := a.AffiliateDelete(a.t.Context(), connect.NewRequest(&serverpb.AffiliateDeleteRequest{ClusterId: cluster, AffiliateId: "a"}))
	if err != nil {
		a.t.Fatal(err)
	}
}

func (a attacker) put(id string, data []byte) {
	a.t.Helper()
	_, err := a.AffiliateUpdate(a.t.Context(), connect.NewRequest(&serverpb.AffiliateUpdateRequest{ClusterId: cluster, AffiliateId: id,
		AffiliateData: data, Ttl: durationpb.New(time.Minute)}))
	if err != nil {
		a.t.Fatal(err)
	}
}

// find returns what the service has of a machine; nil for nothing.
func (a attacker) find(id string) *serverpb.Affiliate {
	a.t.Helper()
	list, err := a.List(a.t.Context(), connect.NewRequest(&serverpb.ListRequest{ClusterId: cluster}))
	if err != nil {
		a.t.Fatal(err)
	}
	for _, found := range list.Msg.GetAffiliates() {
		if found.GetId() == id {
			return found
		}
	}
	return nil
}

// await watches the service until ok accepts what it has of the machine a.
func (a attacker) await(ok func(*serverpb.Affiliate) bool) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), 30*time.Second)
	defer cancel()
	stream, err := a.Watch(ctx, connect.NewRequest(&serverpb.WatchRequest{ClusterId: cluster}))
	if err != nil {
		a.t.Fatal(err)
	}
	defer func() { _ = stream.Close() }()
	// The first message is what the service has, and each other one is news.
	for stream.Receive() {
		if ok(a.find("a")) {
			return
		}
	}
	a.t.Fatalf("the service has %v of the machine: %v", a.find("a"), stream.Err())
}

// stampOf returns the stamp of what a service has of a machine.
func stampOf(t *testing.T, found *serverpb.Affiliate) payload.Stamp {
	t.Helper()
	cipher, err := payload.NewCipher([32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	_, stamp, err := cipher.OpenAffiliate(found.GetId(), found.GetData())
	if err != nil {
		t.Fatal(err)
	}
	return stamp
}

// TestOwnAffiliateIsRestored changes the affiliate of a running machine.
func TestOwnAffiliateIsRestored(t *testing.T) {
	for name, change := range map[string]func(attacker, *serverpb.Affiliate){
		"deleted":              func(a attacker, _ *serverpb.Affiliate) { a.delete() },
		"replaced by garbage":  func(a attacker, _ *serverpb.Affiliate) { a.put("a", []byte("garbage")) },
		"replaced by another":  func(a attacker, _ *serverpb.Affiliate) { a.put("a", a.find("b").GetData()) },
		"an older copy is put": func(a attacker, old *serverpb.Affiliate) { a.put("a", old.GetData()) },
		"an older copy is put after the deletion": func(a attacker, old *serverpb.Affiliate) {
			a.delete()
			a.put("a", old.GetData())
		},
		"its endpoints are gone": func(a attacker, _ *serverpb.Affiliate) {
			now := a.find("a")
			a.delete()
			a.put("a", now.GetData())
		},
		"only endpoints of others are left": func(a attacker, old *serverpb.Affiliate) {
			a.delete()
			_, _ = a.AffiliateUpdate(a.t.Context(), connect.NewRequest(&serverpb.AffiliateUpdateRequest{ClusterId: cluster, AffiliateId: "a",
				AffiliateEndpoints: old.GetEndpoints(), Ttl: durationpb.New(time.Minute)}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			s.t = t
			a, b := s.join("a").run(), s.join("b").run()
			a.Publish(local("a", "192.0.2.1:1"))
			b.Publish(local("b"))
			b.await("a 192.0.2.1:1")
			a.await("b")
			attacker := s.attack()
			old := attacker.find("a")
			a.Publish(local("a", "192.0.2.1:1", "192.0.2.2:2"))
			b.await("a 192.0.2.1:1 192.0.2.2:2")
			before := stampOf(t, attacker.find("a"))

			change(attacker, old)
			attacker.await(func(found *serverpb.Affiliate) bool {
				if found == nil || len(found.GetEndpoints()) != 2 || string(found.GetData()) == "garbage" {
					return false
				}
				cipher, _ := payload.NewCipher([32]byte{1})
				_, stamp, err := cipher.OpenAffiliate("a", found.GetData())
				return err == nil && stamp.Sequence > before.Sequence
			})
			b.await("a 192.0.2.1:1 192.0.2.2:2")
			if c := a.Snapshot().Conditions; len(c) != 0 {
				t.Errorf("no machine was cloned: %v", c)
			}
		})
	}
}

func TestOlderCopyIsRefused(t *testing.T) {
	s := serve(t)
	attacker := s.attack()
	gone := s.join("gone")
	if err := gone.Announce(t.Context(), affiliate("gone", "192.0.2.1:1")); err != nil {
		t.Fatal(err)
	}
	old := attacker.find("gone")
	if err := gone.Announce(t.Context(), affiliate("gone", "192.0.2.2:2")); err != nil {
		t.Fatal(err)
	}
	b := s.join("b").run()
	b.await("gone 192.0.2.1:1 192.0.2.2:2")
	refused := func(m *member) string { return m.Snapshot().Refused["gone"] }

	t.Run("while the newest is known", func(t *testing.T) {
		attacker.put("gone", old.GetData())
		for !strings.Contains(refused(b), "is an older copy, published at 20") {
			<-b.changed
		}
		b.await("gone 192.0.2.1:1 192.0.2.2:2")
	})
	t.Run("after a restart", func(t *testing.T) {
		b.stop()
		cache, err := b.Cache()
		if err != nil {
			t.Fatal(err)
		}
		again := s.join("b", func(o *discoveryhttp.Options) { o.Cache = cache })
		if err := again.Fetch(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(refused(again), "is an older copy") {
			t.Errorf("refused: %q", refused(again))
		}
		again.await("gone 192.0.2.1:1 192.0.2.2:2")
	})
	t.Run("a newer one is used again", func(t *testing.T) {
		if err := gone.Announce(t.Context(), affiliate("gone", "192.0.2.3:3")); err != nil {
			t.Fatal(err)
		}
		again := s.join("c").run()
		again.await("gone 192.0.2.1:1 192.0.2.2:2 192.0.2.3:3")
		if text := refused(again); text != "" {
			t.Errorf("refused: %q", text)
		}
	})
}

// TestLargestSequenceLeavesAMachineIn publishes a machine under the largest sequence of all,
// after which there is no other.
func TestLargestSequenceLeavesAMachineIn(t *testing.T) {
	s := serve(t)
	a, b := s.join("a").run(), s.join("b").run()
	a.Publish(local("a", "192.0.2.1:1"))
	b.Publish(local("b"))
	b.await("a 192.0.2.1:1")
	attacker := s.attack()
	cipher, err := payload.NewCipher([32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	last, err := cipher.SealAffiliate(local("a", "192.0.2.66:6").Local, payload.Stamp{Sequence: 1 << 62})
	if err != nil {
		t.Fatal(err)
	}
	attacker.put("a", last)
	attacker.await(func(found *serverpb.Affiliate) bool { return string(found.GetData()) != string(last) })
	a.Publish(local("a", "192.0.2.1:1", "192.0.2.2:2"))
	b.await("a 192.0.2.1:1 192.0.2.2:2")
}

// TestMachineThatLeavesCannotBePutBack deletes a machine as `spanctl down` does.
func TestMachineThatLeavesCannotBePutBack(t *testing.T) {
	s := serve(t)
	a, b := s.join("a"), s.join("b").run()
	if err := a.Announce(t.Context(), affiliate("a")); err != nil {
		t.Fatal(err)
	}
	b.await("a")
	old := s.attack().find("a")
	if err := a.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.await()
	s.attack().put("a", old.GetData())
	for !strings.Contains(b.Snapshot().Refused["a"], "is an older copy") {
		<-b.changed
	}
	b.await()
	if err := a.Announce(t.Context(), affiliate("a")); err != nil {
		t.Fatal(err)
	}
	b.await("a")
}

// awaitCloned waits for the condition that another machine has the identity.
func (m *member) awaitCloned(hostname string) {
	m.t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		for _, c := range m.Snapshot().Conditions {
			if c.Code == condition.IdentityCloned && c.Subject == hostname && c.Severity() == condition.SeverityError {
				return
			}
		}
		select {
		case <-m.changed:
		case <-deadline:
			m.t.Fatalf("the conditions are %v; the log:\n%s", m.Snapshot().Conditions, m.log)
		}
	}
}

func TestClonedIdentityIsSeenByBoth(t *testing.T) {
	s := serve(t)
	original := s.join("a").run()
	original.Publish(local("a", "192.0.2.1:1"))
	s.attack().await(func(found *serverpb.Affiliate) bool { return found != nil })
	cache, err := original.Cache()
	if err != nil {
		t.Fatal(err)
	}
	clone := s.join("a", func(o *discoveryhttp.Options) { o.Cache = cache }).run()
	copied := affiliate("a", "192.0.2.2:2")
	copied.Hostname = "copy"
	clone.Publish(reconciler.Publication{Local: copied})
	original.awaitCloned("copy")
	clone.awaitCloned("a")
	for _, m := range []*member{original, clone} {
		if n := strings.Count(m.log.String(), "own affiliate changed in discovery"); n > 10 {
			t.Errorf("published again %d times:\n%s", n, m.log)
		}
	}
}

// TestNoCloneIsSeen has what could be taken for another machine.
func TestNoCloneIsSeen(t *testing.T) {
	t.Run("an earlier process", func(t *testing.T) {
		s := serve(t)
		before := s.join("a").run()
		before.Publish(local("a"))
		s.attack().await(func(found *serverpb.Affiliate) bool { return found != nil })
		before.stop()
		after := s.join("a").run()
		watcher := s.join("b").run()
		after.Publish(local("a", "192.0.2.1:1"))
		watcher.await("a 192.0.2.1:1")
		if c := after.Snapshot().Conditions; len(c) != 0 {
			t.Error(c)
		}
	})
	t.Run("a state directory that was restored, with a clock that is behind", func(t *testing.T) {
		s := serve(t)
		cipher, err := payload.NewCipher([32]byte{1})
		if err != nil {
			t.Fatal(err)
		}
		future := payload.Stamp{Sequence: payload.SequenceAt(time.Now().Add(time.Hour)), Instance: payload.Instance{1}}
		sealed, err := cipher.SealAffiliate(affiliate("a"), future)
		if err != nil {
			t.Fatal(err)
		}
		s.attack().put("a", sealed)
		watcher := s.join("b").run()
		watcher.await("a")
		a := s.join("a").run()
		a.Publish(local("a", "192.0.2.1:1"))
		watcher.await("a 192.0.2.1:1")
		if stamp := stampOf(t, s.attack().find("a")); stamp.Sequence <= future.Sequence {
			t.Errorf("the sequence %d is not larger than %d", stamp.Sequence, future.Sequence)
		}
		if c := a.Snapshot().Conditions; len(c) != 0 {
			t.Error(c)
		}
	})
	t.Run("a second service, which has an older copy", func(t *testing.T) {
		one, two := serve(t), serve(t)
		both := func(o *discoveryhttp.Options) { o.Endpoints = []string{one.url(), two.url()} }
		a, b := one.join("a", both).run(), one.join("b", both).run()
		a.Publish(local("a", "192.0.2.1:1"))
		b.await("a 192.0.2.1:1")
		for _, s := range []*service{one, two} {
			s.attack().await(func(found *serverpb.Affiliate) bool { return found != nil })
		}
		old := two.attack().find("a")
		a.Publish(local("a", "192.0.2.2:2"))
		b.await("a 192.0.2.1:1 192.0.2.2:2")
		two.attack().put("a", old.GetData())
		two.attack().await(func(found *serverpb.Affiliate) bool { return string(found.GetData()) != string(old.GetData()) })
		if c := a.Snapshot().Conditions; len(c) != 0 {
			t.Error(c)
		}
	})
}

// TestFightsAreLimited deletes a machine's affiliate again and again.
func TestFightsAreLimited(t *testing.T) {
	s := serve(t)
	a := s.join("a").run()
	a.Publish(local("a"))
	there := func(found *serverpb.Affiliate) bool { return found != nil }
	attacker := s.attack()
	attacker.await(there)
	const burst = 5
	for range burst {
		attacker.delete()
		attacker.await(there)
	}
	attacker.delete()
	deadline := time.After(30 * time.Second)
	for !strings.Contains(a.log.String(), "publish_in=2") { // some 29 seconds
		select {
		case <-a.log.grown:
		case <-deadline:
			t.Fatalf("no pause in\n%s", a.log)
		}
	}
	if attacker.find("a") != nil {
		t.Error("published again at once")
	}
	// What the machine has to say itself is not held up.
	a.Publish(local("a", "192.0.2.1:1"))
	attacker.await(there)
}

// doubtful is a store whose watchers are told of a deletion that did not happen, as those of
// Sidero's service are when an endpoint has expired.
type doubtful struct {
	*store.Memory
	logs chan *store.Log
}

func (d doubtful) Watch(ctx context.Context, clusterID string, caller netip.Addr, token []byte) (*store.Snapshot, *store.Watcher, error) {
	snapshot, w, err := d.Memory.Watch(ctx, clusterID, caller, token)
	if err != nil {
		return nil, nil, err
	}
	log := store.NewLog(nil)
	own := log.Watch(w.Close)
	go func() {
		for {
			events, err := w.Next(context.Background())
			if err != nil {
				own.End(err)
				return
			}
			for _, e := range events {
				log.Push(e)
			}
		}
	}()
	d.logs <- log
	return snapshot, own, nil
}

// numbers reports whether a machine numbers its publications, for one that has just begun.
func (m *member) numbers(t *testing.T, id string) bool {
	t.Helper()
	if err := m.Fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	return m.Numbers(id)
}

func TestDeletionThatDidNotHappen(t *testing.T) {
	d := doubtful{store.NewMemory(store.Limits{}), make(chan *store.Log, 10)}
	s := serve(t, func(o *server.Options) { o.Store = d })
	cipher, err := payload.NewCipher([32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"talos-1", "talos-2"} {
		sealed, err := cipher.SealAffiliate(affiliate(id), payload.Stamp{})
		if err != nil {
			t.Fatal(err)
		}
		s.attack().put(id, sealed)
	}
	a := s.join("a").run()
	a.Publish(local("a"))
	a.await("talos-1", "talos-2")
	s.attack().await(func(found *serverpb.Affiliate) bool { return found != nil })
	before := stampOf(t, s.attack().find("a"))

	if !s.join("onlooker").numbers(t, "a") || s.join("onlooker").numbers(t, "talos-1") {
		t.Error("which machines number their publications is not known")
	}

	t.Run("of another machine", func(t *testing.T) {
		// One is really gone.
		if err := d.Delete(t.Context(), cluster, "talos-2"); err != nil {
			t.Fatal(err)
		}
		log := <-d.logs
		log.Push(store.NewDeletion("talos-1"))
		a.await("talos-1")
		if a.Snapshot().Affiliates[0].NodeID != "talos-1" {
			t.Error(a.Snapshot().Affiliates)
		}
		log.Push(store.NewDeletion("a"))
	})
	t.Run("of this machine", func(t *testing.T) {
		s.attack().await(func(found *serverpb.Affiliate) bool { return stampOf(t, found).Sequence > before.Sequence })
		if n := strings.Count(a.log.String(), "own affiliate changed"); n != 1 {
			t.Errorf("published again %d times:\n%s", n, a.log)
		}
	})
}
