package server

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/discoveryhttp/server/door"
	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/discoveryhttp/store"
)

// Limits are the bounds of what a server accepts.
type Limits struct {
	// ID bounds a cluster or affiliate ID, in bytes.
	ID int
	// Data bounds the sealed data of an affiliate, in bytes.
	Data int
	// Endpoint bounds a sealed endpoint, in bytes.
	Endpoint int
	// Store bounds what the store keeps.
	Store store.Limits
	// TTL bounds the life of an affiliate without a refresh. A request with a longer TTL
	// is refused.
	TTL time.Duration
	// Send is how long a reader may take nothing of what is sent to it.
	Send time.Duration
	// PerAddress is the rate of one address, or of one IPv6 /64.
	PerAddress Rate
	// PerCluster is the rate of all callers of one cluster together.
	PerCluster Rate
	// MaxWait is how long a call beyond a rate waits for its turn, if its own deadline is
	// not earlier. A call whose turn would come later is refused at once.
	MaxWait time.Duration
	// WaitingPerAddress bounds the calls of one address, or of one IPv6 /64, that wait.
	// 0 is no bound.
	WaitingPerAddress int
	// Waiting bounds the calls of all addresses that wait. 0 is no bound.
	Waiting int
	// CallsPerAddress bounds the open calls of one address, or of one IPv6 /64, watches among
	// them, until their end is sent. 0 is no bound.
	CallsPerAddress int
	// Calls bounds the open calls of all addresses. 0 is no bound.
	Calls int
	// WatchesPerAddress bounds the open watches of one address, or of one IPv6 /64. 0 is
	// no bound.
	WatchesPerAddress int
	// Watches bounds the open watches of all addresses. 0 is no bound.
	Watches int
	// Invites bounds the open calls of InviteService, and InvitesPerAddress those of one address, or
	// of one IPv6 /64. A call holds what it brings or takes. 0 is no bound.
	Invites, InvitesPerAddress int
	// InviteRates are those of InviteService.
	InviteRates InviteRates
	// Sent bounds what is encoded for readers: messages that they have not taken, and that are
	// kept for further readers, in bytes. Each counts once, however many read it. 0 is no bound.
	Sent int64
	// Copies bounds the copies of large snapshots and lists that are being written on
	// net/http, in bytes, and CopiesPerAddress those of one address, or of one IPv6 /64. 0 is
	// no bound.
	Copies, CopiesPerAddress int64
	// Connections bounds connections, before and while they have calls. The trusted proxies
	// are those of the Options.
	Connections door.Limits
}

// Rate bounds calls. Zero is no bound.
type Rate struct {
	// PerSecond is the long-term rate of calls.
	PerSecond float64
	// Burst is the number of calls that may come at once.
	Burst int
}

// InviteRates bound the calls of InviteService, besides the rates of all calls.
type InviteRates struct {
	// PerAddress is the rate of one address, or of one IPv6 /64: a fleet may join from behind one.
	PerAddress Rate
	// All is the rate of all addresses together, and Owners that of the calls of those who make, list
	// and revoke invitations, for which a store may look at all of them.
	All, Owners Rate
}

// DefaultLimits returns limits that fit clusters of 10,000 machines. The sizes, the
// endpoints and the TTL are those of Sidero's service, which its clients comply with.
//
// Five hundred machines behind one address may join at once: each calls Hello, Watch and
// AffiliateUpdate, and publishes some endpoints of others, which is a call each. The burst
// has sixteen calls for each. What an address can do with it is bounded by its bytes,
// clusters and watches.
func DefaultLimits() Limits {
	return Limits{
		ID:       256,
		Data:     2048,
		Endpoint: 32,
		Store: store.Limits{Affiliates: 10_000, Watchers: 12_000, Endpoints: 64, Clusters: 100_000,
			Bytes: 512 << 20, CallerBytes: 96 << 20, CallerClusters: 2500, Backlog: 64 << 20,
			Invitations: 4096, OwnerInvitations: 64, CallerInvitations: 256, InvitationBytes: 32 << 20, CallerInvitationBytes: 4 << 20},
		TTL:        30 * time.Minute,
		Send:       10 * time.Second,
		PerAddress: Rate{PerSecond: 200, Burst: 8000},
		PerCluster: Rate{PerSecond: 1000, Burst: 40_000},
		// Talos' client gives up on Hello after 10 s, and on all updates together after 30.
		MaxWait:           10 * time.Second,
		WaitingPerAddress: 2048,
		Waiting:           8192,
		CallsPerAddress:   8192,
		Calls:             65_536,
		WatchesPerAddress: 4096,
		Watches:           50_000,
		Invites:           128,
		InvitesPerAddress: 64,
		InviteRates:       InviteRates{PerAddress: Rate{PerSecond: 2, Burst: 300}, All: Rate{PerSecond: 100, Burst: 2000}, Owners: Rate{PerSecond: 20, Burst: 200}},
		Sent:              384 << 20,
		Copies:            128 << 20,
		CopiesPerAddress:  64 << 20,
		Connections:       door.DefaultLimits(),
	}
}

// minRequest is the least limit of the size of a request, in bytes.
const minRequest = 16 << 10

// request returns the size of the largest request, in bytes: an update with the largest
// data and twice the endpoints that are kept, in base64 within JSON.
func (l Limits) request() int {
	return max(2*(2*l.ID+l.Data+2*l.Store.Endpoints*(l.Endpoint+8)+512), minRequest)
}

func invalid(format string, args ...any) error {
	return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf(format, args...))
}

// checkID returns an error for an ID that is missing, too long, or has characters that a
// terminal or a log would not show as they are.
func (l Limits) checkID(name, id string) error {
	if id == "" {
		return invalid("%s is missing", name)
	}
	if len(id) > l.ID {
		return invalid("%s has %d bytes; at most %d are allowed", name, len(id), l.ID)
	}
	if !utf8.ValidString(id) {
		return invalid("%s is not valid UTF-8", name)
	}
	// Letters, marks, numbers, punctuation, symbols and spaces are graphic. Controls, and
	// format characters such as those that reverse the direction of text, are not.
	if i := strings.IndexFunc(id, func(r rune) bool { return !unicode.IsGraphic(r) }); i >= 0 {
		r, _ := utf8.DecodeRuneInString(id[i:])
		return invalid("%s has the character %U; control and format characters are not allowed", name, r)
	}
	return nil
}

// checkUpdate returns an error for what Sidero's service refuses, too, and for an empty
// endpoint, on which its clients panic. More endpoints than are kept are the store's to
// refuse: it takes the data and what fits.
func (l Limits) checkUpdate(m *serverpb.AffiliateUpdateRequest) error {
	if err := l.checkID("affiliate_id", m.GetAffiliateId()); err != nil {
		return err
	}
	if len(m.GetAffiliateData()) > l.Data {
		return invalid("affiliate_data has %d bytes; at most %d are allowed", len(m.GetAffiliateData()), l.Data)
	}
	for i, e := range m.GetAffiliateEndpoints() {
		if len(e) == 0 || len(e) > l.Endpoint {
			return invalid("affiliate_endpoints[%d] has %d bytes; from 1 to %d are allowed", i, len(e), l.Endpoint)
		}
	}
	if ttl := m.GetTtl().AsDuration(); ttl > l.TTL {
		return invalid("ttl is %v; at most %v is allowed", ttl, l.TTL)
	}
	return nil
}

// updateOf returns the update that a request asks for, or what is wrong with the request.
//
// Without a TTL the update is taken, and expires at once. Data of no bytes is none. So it is
// with Sidero's service.
func (l Limits) updateOf(m *serverpb.AffiliateUpdateRequest) (store.Update, error) {
	if err := l.checkUpdate(m); err != nil {
		return store.Update{}, err
	}
	u := store.Update{ID: m.GetAffiliateId(), Endpoints: l.firstEndpoints(m.GetAffiliateEndpoints()), TTL: max(0, m.GetTtl().AsDuration())}
	if data := m.GetAffiliateData(); len(data) > 0 {
		u.Data = data
	}
	return u, nil
}

// firstEndpoints returns the endpoints, if they are few. Of many it returns the first that
// differ, up to one more than an affiliate may have: the store keeps what fits, and says that
// it was too many.
func (l Limits) firstEndpoints(endpoints [][]byte) [][]byte {
	if l.Store.Endpoints <= 0 || len(endpoints) <= l.Store.Endpoints {
		return endpoints
	}
	seen := make(map[string]bool, l.Store.Endpoints+1)
	var first [][]byte
	for _, e := range endpoints {
		if !seen[string(e)] {
			seen[string(e)] = true
			first = append(first, e)
		}
		if len(first) > l.Store.Endpoints {
			break
		}
	}
	return first
}
