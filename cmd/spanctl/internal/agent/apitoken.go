package agent

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/cmd/spanctl/internal/regular"

	"github.com/spanmesh/span/cmd/spanctl/internal/room"
)

// minToken and maxToken are how long a token is, in characters.
const minToken, maxToken = 32, 1024

// tokenError is the error of a file with a token that is not used.
type tokenError struct{ cause, remedy string }

func (e *tokenError) Error() string { return e.cause + ": " + e.remedy }

// readToken returns the token that a file has.
func readToken(path string) (string, error) {
	err := checkTrusted(path)
	if own := (*tokenError)(nil); errors.As(err, &own) {
		return "", own
	}
	data := []byte(nil)
	if err == nil {
		data, err = regular.Read(path, maxToken+2)
	}
	if err != nil {
		return "", &tokenError{"the file with the token cannot be read: " + err.Error(),
			"write one of at least 32 characters to it, such as `openssl rand -hex 32` prints, or leave machine.api.tokenFile empty"}
	}
	token := strings.TrimSpace(string(data))
	if n := len(token); n < minToken || n > maxToken || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", &tokenError{fmt.Sprintf("%s has no token", path),
			fmt.Sprintf("write one to it of %d to %d letters, digits and signs without a space, such as `openssl rand -hex 32` prints", minToken, maxToken)}
	}
	return token, nil
}

// bearer is how a client shows that it has the token (RFC 6750).
const bearer = "Bearer "

var (
	errNoToken   = errors.New("the token is missing or wrong: send the header Authorization: Bearer TOKEN")
	errManyConns = fmt.Errorf("%d connections are open: close some", maxAPIConns)
)

// withToken passes on requests that have a token, and keeps their connections open. It closes others.
// Tokens are compared in constant time.
func withToken(token string, next http.Handler) http.Handler {
	want := sha256.Sum256([]byte(token))
	refuse := connect.NewErrorWriter()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, shown := "", ""
		if header := r.Header.Get("Authorization"); len(header) > len(bearer) {
			scheme, shown = header[:len(bearer)], header[len(bearer):]
		}
		got := sha256.Sum256([]byte(shown))
		status, code, err := http.StatusUnauthorized, connect.CodeUnauthenticated, errNoToken
		if strings.EqualFold(scheme, bearer) && subtle.ConstantTimeCompare(got[:], want[:]) == 1 {
			if room.Admit(r.Context()) {
				next.ServeHTTP(w, r)
				return
			}
			status, code, err = http.StatusTooManyRequests, connect.CodeResourceExhausted, errManyConns
		} else {
			w.Header().Set("WWW-Authenticate", `Bearer realm="spanctl"`)
		}
		w.Header().Set("Connection", "close") // by HTTP/2, this sends GOAWAY
		if !refuse.IsSupported(r) {
			http.Error(w, err.Error(), status)
			return
		}
		_ = refuse.Write(w, r, connect.NewError(code, err)) // the client is gone
	})
}
