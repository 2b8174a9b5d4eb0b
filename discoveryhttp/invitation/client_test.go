package invitation_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/discoveryhttp/invitation"
	"github.com/spanmesh/span/discoveryhttp/invitepb"
	"github.com/spanmesh/span/discoveryhttp/invitepb/invitepbconnect"
)

// hostile is a server that answers what no server of spanctl does.
type hostile struct {
	invitepbconnect.UnimplementedInviteServiceHandler
}

func (hostile) List(context.Context, *connect.Request[invitepb.ListRequest]) (*connect.Response[invitepb.ListResponse], error) {
	return connect.NewResponse(&invitepb.ListResponse{Invitations: []*invitepb.Invitation{{Name: []byte{1}}}}), nil
}

func (hostile) Take(context.Context, *connect.Request[invitepb.TakeRequest]) (*connect.Response[invitepb.TakeResponse], error) {
	return connect.NewResponse(&invitepb.TakeResponse{Sealed: make([]byte, 1<<20)}), nil
}

func (hostile) Create(context.Context, *connect.Request[invitepb.CreateRequest]) (*connect.Response[invitepb.CreateResponse], error) {
	return nil, connect.NewError(connect.CodeFailedPrecondition, errors.New("because"))
}

func clientOf(t *testing.T, handler http.Handler) *invitation.Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	client, err := invitation.NewClient(invitation.Options{Server: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func TestHostileServer(t *testing.T) {
	_, handler := invitepbconnect.NewInviteServiceHandler(hostile{})
	c, key := clientOf(t, handler), invitation.NewKey()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := c.List(ctx, invitation.Owner{})
	wantError(t, "a name that is too short", err, "a name has 1 bytes: want 16")
	_, _, err = c.Take(ctx, key.Name(), key.RequestID([32]byte{}), nil)
	wantError(t, "a large answer", err, "is larger than configured max")
	_, err = c.Create(ctx, invitation.Owner{}, key.Name(), nil, 1, time.Hour)
	wantError(t, "an error without details", err, "because")
	if err := c.Revoke(ctx, invitation.Owner{}, key.Name()); !errors.Is(err, invitation.ErrUnsupported) {
		t.Errorf("a call that it does not have: %v", err)
	}
}

// TestOtherServer asks servers that have no such service.
func TestOtherServer(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for name, status := range map[string]int{"a page": http.StatusOK, "nothing": http.StatusNotFound, "gRPC alone": http.StatusUnsupportedMediaType} {
		c := clientOf(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(status)
		}))
		if _, err := c.List(ctx, invitation.Owner{}); !errors.Is(err, invitation.ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestUnreachableServer tries until its time is over, and says why each try failed.
func TestUnreachableServer(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	c, err := invitation.NewClient(invitation.Options{Server: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	key, tries := invitation.NewKey(), 0
	_, _, err = c.Take(ctx, key.Name(), key.RequestID([32]byte{}), func(err error, _ time.Duration) {
		wantError(t, "a try", err, "connection refused")
		if tries++; tries == 2 {
			cancel()
		}
	})
	wantError(t, "the last try", err, "connection refused")
	if tries != 2 || strings.Contains(err.Error(), "InviteService") {
		t.Errorf("after %d tries: %v", tries, err)
	}
}

func wantError(t *testing.T, what string, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: %v, want %s", what, err, want)
	}
}
