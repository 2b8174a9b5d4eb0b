package server_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spanmesh/span/discoveryhttp/invitation"
	"github.com/spanmesh/span/discoveryhttp/invitepb"
	"github.com/spanmesh/span/discoveryhttp/invitepb/invitepbconnect"
	"github.com/spanmesh/span/discoveryhttp/server"
	"github.com/spanmesh/span/discoveryhttp/store"
)

// invites is an option.
func invites(o *server.Options) { o.Invite = true }

// inviting is a client of a server, and an owner of invitations.
type inviting struct {
	*invitation.Client
	owner invitation.Owner
}

func newInviting(t *testing.T, url string, cluster byte) inviting {
	t.Helper()
	client, err := invitation.NewClient(invitation.Options{Server: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return inviting{client, invitation.Owner{ClusterID: "c" + string('0'+rune(cluster)), Token: invitation.OwnerToken([32]byte{cluster}, "c")}}
}

// create creates an invitation that seals "config", and returns its key.
func (i inviting) create(t *testing.T, uses int, life time.Duration) invitation.Key {
	t.Helper()
	key := invitation.NewKey()
	sealed, err := key.Seal([]byte("config"))
	if err != nil {
		t.Fatal(err)
	}
	expires, err := i.Create(t.Context(), i.owner, key.Name(), sealed, uses, life)
	if left := time.Until(expires); err != nil || left > life || left < life-time.Minute {
		t.Fatalf("it expires at %v, %v", expires, err)
	}
	return key
}

// take takes an invitation as a machine.
func (i inviting) take(ctx context.Context, key invitation.Key, machine byte) (string, error) {
	sealed, _, err := i.Take(ctx, key.Name(), key.RequestID([32]byte{machine}), nil)
	if err != nil {
		return "", err
	}
	config, err := key.Open(sealed)
	return string(config), err
}

func TestInvite(t *testing.T) {
	url, _ := start(t, invites)
	us, others := newInviting(t, url, 1), newInviting(t, url, 2)
	key := us.create(t, 2, time.Hour)
	for _, machine := range []byte{1, 1, 2, 1} {
		if config, err := us.take(t.Context(), key, machine); config != "config" || err != nil {
			t.Errorf("machine %d got %q, %v", machine, config, err)
		}
	}
	_, err := us.take(t.Context(), key, 3)
	if ended, _ := errors.AsType[*invitation.EndedError](err); ended == nil || !ended.Used || ended.Uses != 2 {
		t.Errorf("a third machine: %v", err)
	}
	if _, err := us.take(t.Context(), invitation.NewKey(), 1); !errors.Is(err, invitation.ErrUnknown) {
		t.Errorf("an unknown invitation: %v", err)
	}
	list, err := us.List(t.Context(), us.owner)
	if err != nil || len(list) != 1 || list[0].GetUses() != 2 || list[0].GetUsed() != 2 || list[0].GetTaken() == nil {
		t.Errorf("there are %v, %v", list, err)
	}
	if list, err := others.List(t.Context(), others.owner); err != nil || len(list) != 0 {
		t.Errorf("others have %v, %v", list, err)
	}
	if err := others.Revoke(t.Context(), others.owner, key.Name()); !errors.Is(err, invitation.ErrUnknown) {
		t.Errorf("others revoke it: %v", err)
	}
	if err := us.Revoke(t.Context(), us.owner, key.Name()); err != nil {
		t.Error(err)
	}
	if _, err := us.take(t.Context(), key, 1); !errors.Is(err, invitation.ErrUnknown) {
		t.Errorf("a revoked invitation: %v", err)
	}
}

func TestInviteExpires(t *testing.T) {
	url, _ := start(t, invites)
	us := newInviting(t, url, 1)
	key := us.create(t, 1, time.Second)
	for {
		_, err := us.take(t.Context(), key, 1)
		if ended, _ := errors.AsType[*invitation.EndedError](err); ended != nil && !ended.Used {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestInviteSurvivesAServer has a server go away, and another one on the same store answer what
// is tried again.
func TestInviteSurvivesAServer(t *testing.T) {
	kept := store.NewMemory(store.Limits{})
	withStore := func(o *server.Options) { o.Store = kept }
	first, stop := start(t, invites, withStore)
	key := newInviting(t, first, 1).create(t, 1, time.Hour)
	if _, err := newInviting(t, first, 1).take(t.Context(), key, 1); err != nil {
		t.Fatal(err)
	}
	stop()
	second, _ := start(t, invites, withStore)
	if config, err := newInviting(t, second, 1).take(t.Context(), key, 1); config != "config" || err != nil {
		t.Errorf("the second server gave %q, %v", config, err)
	}
}

// TestInviteNeedsTheMemberToken on a server that serves members only. A machine that joins has none.
func TestInviteNeedsTheMemberToken(t *testing.T) {
	kept := store.NewMemory(store.Limits{})
	url, _ := start(t, invites, func(o *server.Options) { o.Store, o.Auth = kept, server.Member })
	us := newInviting(t, url, 1)
	key := invitation.NewKey()
	if _, err := us.Create(t.Context(), us.owner, key.Name(), []byte("x"), 1, time.Hour); err == nil || !strings.Contains(err.Error(), "member token") {
		t.Errorf("without a token: %v", err)
	}
	hash := sha256.Sum256([]byte("ours"))
	if err := kept.Update(t.Context(), us.owner.ClusterID, store.Update{ID: "a", Now: time.Now(), TTL: time.Hour, Token: hash[:]}); err != nil {
		t.Fatal(err)
	}
	us.owner.MemberToken = "theirs"
	if _, err := us.Create(t.Context(), us.owner, key.Name(), []byte("x"), 1, time.Hour); err == nil {
		t.Error("another token creates one")
	}
	us.owner.MemberToken = "ours"
	key = us.create(t, 1, time.Hour)
	if config, err := us.take(t.Context(), key, 1); config != "config" || err != nil {
		t.Errorf("got %q, %v", config, err)
	}
}

func TestInviteRefusesRequests(t *testing.T) {
	url, _ := start(t, invites)
	client := invitepbconnect.NewInviteServiceClient(http.DefaultClient, url)
	good := func() *invitepb.CreateRequest {
		return &invitepb.CreateRequest{ClusterId: "c", Owner: make([]byte, 32), Name: make([]byte, 16), Sealed: []byte("x"), Uses: 1, Life: durationpb.New(time.Hour)}
	}
	for name, c := range map[string]struct {
		change func(*invitepb.CreateRequest)
		want   string
	}{
		"no cluster":    {func(m *invitepb.CreateRequest) { m.ClusterId = "" }, "cluster_id is missing"},
		"no owner":      {func(m *invitepb.CreateRequest) { m.Owner = nil }, "owner has 0 bytes: want 32"},
		"a short name":  {func(m *invitepb.CreateRequest) { m.Name = make([]byte, 15) }, "name has 15 bytes: want 16"},
		"nothing":       {func(m *invitepb.CreateRequest) { m.Sealed = nil }, "sealed has 0 bytes"},
		"too much":      {func(m *invitepb.CreateRequest) { m.Sealed = make([]byte, 70_000) }, "sealed has 70000 bytes; from 1 to 66560 are allowed"},
		"no use":        {func(m *invitepb.CreateRequest) { m.Uses = 0 }, "uses is 0: want 1 to 1000"},
		"too many uses": {func(m *invitepb.CreateRequest) { m.Uses = 1001 }, "uses is 1001"},
		"no life":       {func(m *invitepb.CreateRequest) { m.Life = nil }, "life is 0s: want 1s to 720h0m0s"},
		"a long life":   {func(m *invitepb.CreateRequest) { m.Life = durationpb.New(1000 * time.Hour) }, "life is 1000h0m0s"},
	} {
		m := good()
		c.change(m)
		_, err := client.Create(t.Context(), connect.NewRequest(m))
		if connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	if _, err := client.Create(t.Context(), connect.NewRequest(good())); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Create(t.Context(), connect.NewRequest(good())); connect.CodeOf(err) != connect.CodeAlreadyExists {
		t.Errorf("the same name again: %v", err)
	}
	if _, err := client.Take(t.Context(), connect.NewRequest(&invitepb.TakeRequest{Name: make([]byte, 16)})); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("without a request ID: %v", err)
	}
	off, _ := start(t)
	us := newInviting(t, off, 1)
	if _, err := us.List(t.Context(), us.owner); !errors.Is(err, invitation.ErrUnsupported) {
		t.Errorf("a server without invitations: %v", err)
	}
}

// TestInviteRates has an address ask for invitations that there are not, as fast as it can.
func TestInviteRates(t *testing.T) {
	url, _ := start(t, invites)
	client := invitepbconnect.NewInviteServiceClient(http.DefaultClient, url)
	for n := range 1000 {
		_, err := client.Take(t.Context(), connect.NewRequest(&invitepb.TakeRequest{Name: make([]byte, 16), RequestId: make([]byte, 16)}))
		if connect.CodeOf(err) == connect.CodeResourceExhausted {
			if failed, _ := errors.AsType[*connect.Error](err); n < 200 || failed.Meta().Get("Retry-After") == "" {
				t.Errorf("after %d calls: %v, %v", n, err, failed.Meta())
			}
			return
		}
	}
	t.Error("a thousand calls of one address are answered")
}

// TestInviteOfAPrivateAuthority has a server whose certificate a new machine does not know. It takes the
// invitation only if the line says so.
func TestInviteOfAPrivateAuthority(t *testing.T) {
	kept := store.NewMemory(store.Limits{})
	plain, _ := start(t, invites, func(o *server.Options) { o.Store = kept })
	key := newInviting(t, plain, 1).create(t, 1, time.Hour)
	o := options([]func(*server.Options){invites, func(o *server.Options) { o.Store = kept }})
	secure := httptest.NewUnstartedServer(server.New(t.Context(), o).Handler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	for _, unverified := range []bool{false, true} {
		client, err := invitation.NewClient(invitation.Options{Server: secure.URL, Unverified: unverified})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		config, err := inviting{Client: client}.take(t.Context(), key, 1)
		if failed, _ := errors.AsType[*tls.CertificateVerificationError](err); unverified != (err == nil) || !unverified && failed == nil {
			t.Errorf("unverified %v: got %q, %v", unverified, config, err)
		}
	}
}

// FuzzInvite sends arbitrary bodies to each method, in each encoding.
func FuzzInvite(f *testing.F) {
	methods := []string{"Create", "Take", "List", "Revoke"}
	types := []string{"application/proto", "application/json", "application/grpc", "application/connect+proto", "application/grpc-web"}
	create, err := proto.Marshal(&invitepb.CreateRequest{ClusterId: "c", Owner: make([]byte, 32), Name: make([]byte, 16), Sealed: []byte("x"), Uses: 1, Life: durationpb.New(time.Hour)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint8(0), uint8(0), create)
	f.Add(uint8(1), uint8(1), []byte(`{"name":"AAAAAAAAAAAAAAAAAAAAAA==","requestId":"AAAAAAAAAAAAAAAAAAAAAA=="}`))
	limits := server.DefaultLimits()
	limits.PerAddress, limits.PerCluster, limits.InviteRates = server.Rate{}, server.Rate{}, server.InviteRates{}
	limits.Store.Invitations = 3
	kept := store.NewMemory(limits.Store)
	handler := server.New(f.Context(), server.Options{Store: kept, Limits: limits, Invite: true, Log: slog.New(slog.DiscardHandler)}).Handler()
	f.Fuzz(func(t *testing.T, method, kind uint8, body []byte) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost,
			"/"+invitepbconnect.InviteServiceName+"/"+methods[int(method)%len(methods)], bytes.NewReader(body))
		r.Header.Set("Content-Type", types[int(kind)%len(types)])
		r.ProtoMajor = 2
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code >= 500 && w.Code != http.StatusServiceUnavailable && w.Code != http.StatusNotImplemented {
			t.Errorf("status %d for %q: %s", w.Code, body, w.Body)
		}
		if stats := kept.Stats(); stats.Invitations > 3 {
			t.Errorf("%d invitations are kept", stats.Invitations)
		}
	})
}
