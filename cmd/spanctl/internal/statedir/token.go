package statedir

import (
	"crypto/rand"
	"encoding/base64"
	"path/filepath"
)

// tokenFile has the token of the agent's API.
const tokenFile = "api-token"

// TokenPath returns the path of the token of the agent's API in a state directory.
func TokenPath(dir string) string { return filepath.Join(dir, tokenFile) }

// tokenSize is how many random bytes a token is made of.
const tokenSize = 32

// APIToken returns the path of the file with the token of the agent's API. It is made on first use.
func (d *Dir) APIToken() (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	path := filepath.Join(d.path, tokenFile)
	there, err := d.read(tokenFile)
	if err != nil || there != nil {
		return path, err
	}
	var random [tokenSize]byte
	_, _ = rand.Read(random[:]) // it never fails
	return path, d.write(tokenFile, []byte(base64.RawURLEncoding.EncodeToString(random[:])+"\n"))
}
