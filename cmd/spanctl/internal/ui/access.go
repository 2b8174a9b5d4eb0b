package ui

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"sync"
	"time"
)

const (
	// tokenLife is how long a token may be used after it was made.
	tokenLife = 5 * time.Minute
	// sessionLife is how long a browser may be used after it showed its token.
	sessionLife = 12 * time.Hour
	// maxSessions is how many browsers may be used. The oldest is shut out by another one.
	maxSessions = 8
	// maxStreams is how many streams a browser may have open. A browser opens six connections to a
	// server, and needs some for the rest.
	maxStreams = 4
	// secretSize is the size of tokens and cookies in bytes.
	secretSize = 32
)

// access knows who may use the server. It keeps no secret, but its hash.
type access struct {
	mu sync.Mutex
	// token is the hash of the token that was made last, for use until tokenEnd.
	token    [sha256.Size]byte
	tokenEnd time.Time
	// sessions are those of browsers, the oldest first.
	sessions []*session
}

// session is what a cookie stands for.
type session struct {
	cookie  [sha256.Size]byte
	end     time.Time
	streams int
}

// newSecret returns random text for URLs and cookies.
func newSecret() string {
	b := make([]byte, secretSize)
	_, _ = rand.Read(b) // it never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// newToken returns a token, which takes the place of the one before.
func (a *access) newToken(now time.Time) string {
	token := newSecret()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.token, a.tokenEnd = sha256.Sum256([]byte(token)), now.Add(tokenLife)
	return token
}

// redeem returns the cookie for a token, which is of no use from then on.
func (a *access) redeem(now time.Time, token string) (cookie string, ok bool) {
	hash := sha256.Sum256([]byte(token))
	a.mu.Lock()
	defer a.mu.Unlock()
	if subtle.ConstantTimeCompare(hash[:], a.token[:]) != 1 || !now.Before(a.tokenEnd) {
		return "", false
	}
	a.tokenEnd = time.Time{}
	cookie = newSecret()
	a.sessions = append(a.sessions, &session{cookie: sha256.Sum256([]byte(cookie)), end: now.Add(sessionLife)})
	if len(a.sessions) > maxSessions {
		a.sessions = a.sessions[1:]
	}
	return cookie, true
}

// session returns that of a cookie; nil if it has none.
func (a *access) session(now time.Time, cookie string) (found *session) {
	hash := sha256.Sum256([]byte(cookie))
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.sessions {
		if subtle.ConstantTimeCompare(hash[:], s.cookie[:]) == 1 && now.Before(s.end) {
			found = s
		}
	}
	return found
}

// beginStream counts a stream of a session, and reports whether it may have one more.
func (a *access) beginStream(s *session) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.streams >= maxStreams {
		return false
	}
	s.streams++
	return true
}

func (a *access) endStream(s *session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s.streams--
}
