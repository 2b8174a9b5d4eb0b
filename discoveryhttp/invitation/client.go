package invitation

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spanmesh/span/discoveryhttp/invitepb"
	"github.com/spanmesh/span/discoveryhttp/invitepb/invitepbconnect"
	"github.com/spanmesh/span/discoveryhttp/store"
	"github.com/spanmesh/span/reconciler/retry"
)

const (
	// callTimeout bounds one try of a call, and dialTimeout that of a connection.
	callTimeout = 10 * time.Second
	dialTimeout = 5 * time.Second
	// firstPause and maxPause are the first and the longest pause between two tries.
	firstPause = 250 * time.Millisecond
	maxPause   = 5 * time.Second
	// maxAnswer bounds what a server answers, and maxHeader its header, in bytes.
	maxAnswer = 128 << 10
	maxHeader = 64 << 10
)

// Owner is who makes invitations: a machine of a cluster.
type Owner struct {
	ClusterID string
	// Token is the OwnerToken of the cluster.
	Token []byte
	// MemberToken is that of payload.MemberToken.
	MemberToken string
}

// Options are how a server is reached.
type Options struct {
	// Server is the URL of the server.
	Server string
	// CA is the authority of its certificate, in PEM; empty for those of the system.
	CA string
	// Unverified takes any certificate. Only Take does so: see Line.PrivateCA.
	Unverified bool
	// Dial makes connections; nil for package net.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Client calls a server. It is safe for concurrent use.
type Client struct {
	service   invitepbconnect.InviteServiceClient
	transport *http.Transport
	server    string
}

// NewClient returns a client. It connects with the first call.
func NewClient(o Options) (*Client, error) {
	u, err := url.Parse(o.Server)
	if err != nil || u.Host == "" {
		return nil, errors.New("the URL of the discovery server has no host: want https://HOST/")
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: o.Unverified} //nolint:gosec // the contents are sealed: Line.PrivateCA
	if o.CA != "" {
		if config.RootCAs, err = x509.SystemCertPool(); err != nil {
			config.RootCAs = x509.NewCertPool()
		}
		if !config.RootCAs.AppendCertsFromPEM([]byte(o.CA)) {
			return nil, errors.New("cluster.discovery.registries.service.ca: has no certificate in PEM")
		}
	}
	dial := o.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: dial, TLSClientConfig: config, TLSHandshakeTimeout: dialTimeout,
		ForceAttemptHTTP2: true, MaxResponseHeaderBytes: maxHeader, DisableCompression: true}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	u.Fragment = ""
	return &Client{transport: transport, server: u.Redacted(), service: invitepbconnect.NewInviteServiceClient(client, strings.TrimRight(u.String(), "/"),
		connect.WithReadMaxBytes(maxAnswer), connect.WithAcceptCompression("gzip", nil, nil))}, nil
}

// Close closes the connections.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// EndedError is the error of an invitation that cannot be taken any more.
type EndedError struct {
	// Used is set if it is used up; else it has expired.
	Used    bool
	Uses    int
	Expires time.Time
	// Skew is by how much this machine's clock is ahead of the server's.
	Skew time.Duration
}

// Error implements error.
func (e *EndedError) Error() string {
	if e.Used {
		return fmt.Sprintf("the invitation is used up: it was for %d", e.Uses)
	}
	return "the invitation expired at " + e.Expires.UTC().Format(time.RFC3339)
}

var (
	// ErrUnknown is the error of an invitation that the server does not know, or that is not of the
	// cluster.
	ErrUnknown = errors.New("the server does not know the invitation")
	// ErrUnsupported is the error of a server that keeps no invitations.
	ErrUnsupported = errors.New("the server keeps no invitations")
)

// passing are the codes of errors that may pass.
var passing = []connect.Code{connect.CodeUnavailable, connect.CodeDeadlineExceeded, connect.CodeResourceExhausted, connect.CodeCanceled}

// Notify is told of a try that failed, and when the next one is.
type Notify = retry.Notify

// try makes a call until the server has answered it, or ctx ends. Then the error is that of the last
// try.
func try[Q, R any](ctx context.Context, notify Notify, method func(context.Context, *connect.Request[Q]) (*connect.Response[R], error), q *connect.Request[Q]) (*R, error) {
	var answer *R
	var last error
	err := retry.Do(ctx, retry.New(firstPause, maxPause), notify, func(ctx context.Context) error {
		ctx, stop := context.WithTimeout(ctx, callTimeout)
		defer stop()
		response, err := method(ctx, q)
		if err == nil {
			answer = response.Msg
			return nil
		}
		last = errorOf(err)
		// An answer that is too large is refused here, with a code that the server did not send.
		tooLarge := connect.CodeOf(err) == connect.CodeResourceExhausted && !connect.IsWireError(err)
		if slices.Contains(passing, connect.CodeOf(err)) && !tooLarge && !isCertificate(err) {
			return last
		}
		return retry.Permanent(last)
	})
	if err != nil && last != nil {
		return nil, last
	}
	return answer, err
}

// isCertificate reports whether the server has a certificate that is not taken.
func isCertificate(err error) bool {
	_, failed := errors.AsType[*tls.CertificateVerificationError](err)
	return failed
}

// errorOf returns what the error of a call says, without the words of the protocol.
func errorOf(err error) error {
	if failed, ok := errors.AsType[*url.Error](err); ok {
		return failed.Err // the others have the path of the protocol
	}
	answer, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return err
	}
	switch answer.Code() {
	case connect.CodeNotFound:
		// A server that is not spanctl's, or one of an earlier version, has no such path.
		if connect.IsWireError(err) && answer.Message() != store.ErrNoInvitation.Error() {
			return ErrUnsupported
		}
		return ErrUnknown
	case connect.CodeUnimplemented:
		return ErrUnsupported
	case connect.CodeUnknown, connect.CodeInternal:
		// It answers something else, as a server of gRPC alone or a proxy does.
		return fmt.Errorf("%w: it answers %s", ErrUnsupported, answer.Message())
	case connect.CodeFailedPrecondition:
		return endedOf(answer)
	}
	if cause := errors.Unwrap(answer); cause != nil {
		return cause
	}
	return answer
}

// endedOf returns the *EndedError in the details of an error, or else the error.
func endedOf(answer *connect.Error) error {
	for _, detail := range answer.Details() {
		value, err := detail.Value()
		if err != nil {
			continue
		}
		if ended, ok := value.(*invitepb.Ended); ok {
			return &EndedError{Used: ended.GetReason() == invitepb.Ended_REASON_USED, Uses: int(ended.GetUses()),
				Expires: ended.GetExpires().AsTime(), Skew: time.Since(ended.GetNow().AsTime())}
		}
	}
	return answer
}

// owned returns a request of an owner.
func owned[Q any](o Owner, q *Q) *connect.Request[Q] {
	request := connect.NewRequest(q)
	if o.MemberToken != "" {
		request.Header().Set("Authorization", "Bearer "+o.MemberToken)
	}
	return request
}

// Create has a server keep a sealed config for some uses, and returns when it expires.
func (c *Client) Create(ctx context.Context, o Owner, name store.InvitationName, sealed []byte, uses int, life time.Duration) (time.Time, error) {
	response, err := try(ctx, nil, c.service.Create, owned(o, &invitepb.CreateRequest{ClusterId: o.ClusterID, Owner: o.Token, Name: name[:],
		Sealed: sealed, Uses: uint32(uses), Life: durationpb.New(life)})) //nolint:gosec // the server refuses others
	if err != nil {
		return time.Time{}, c.failed("create an invitation", err)
	}
	return response.GetExpires().AsTime(), nil
}

// Take returns the sealed config of an invitation. A request that is made again with the same ID is
// counted once. Take tries until the server has answered, or ctx ends.
//
// Skew is by how much this machine's clock is ahead of the server's.
func (c *Client) Take(ctx context.Context, name store.InvitationName, request store.RequestID, notify Notify) (sealed []byte, skew time.Duration, err error) {
	response, err := try(ctx, notify, c.service.Take, connect.NewRequest(&invitepb.TakeRequest{Name: name[:], RequestId: request[:]}))
	if err != nil {
		return nil, 0, c.failed("take the invitation", err)
	}
	return response.GetSealed(), time.Since(response.GetNow().AsTime()), nil
}

// List returns the invitations of an owner, the first to expire first.
func (c *Client) List(ctx context.Context, o Owner) ([]*invitepb.Invitation, error) {
	response, err := try(ctx, nil, c.service.List, owned(o, &invitepb.ListRequest{ClusterId: o.ClusterID, Owner: o.Token}))
	if err != nil {
		return nil, c.failed("list invitations", err)
	}
	for _, i := range response.GetInvitations() {
		if len(i.GetName()) != len(store.InvitationName{}) {
			return nil, c.failed("list invitations", fmt.Errorf("a name has %d bytes: want %d", len(i.GetName()), len(store.InvitationName{})))
		}
	}
	return response.GetInvitations(), nil
}

// Revoke ends an invitation of an owner.
func (c *Client) Revoke(ctx context.Context, o Owner, name store.InvitationName) error {
	_, err := try(ctx, nil, c.service.Revoke, owned(o, &invitepb.RevokeRequest{ClusterId: o.ClusterID, Owner: o.Token, Name: name[:]}))
	if err != nil {
		return c.failed("revoke the invitation", err)
	}
	return nil
}

func (c *Client) failed(what string, err error) error {
	return fmt.Errorf("%s at %s: %w", what, c.server, err)
}
