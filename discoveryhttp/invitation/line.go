package invitation

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

const (
	// version is that of lines and of what is sealed.
	version = 1
	// sumSize is the length of the checksum, by which a line that was cut is found out, in bytes.
	sumSize = 4
	tagSize = len(ClusterTag{})
	// fragmentSize is the length of what follows the "#", decoded, in bytes.
	fragmentSize = 2 + keySize + tagSize + sumSize
	// maxLine is the length of the longest line, in bytes.
	maxLine = 4096
)

// flagPrivateCA is set for a server whose certificate is of a private authority.
const flagPrivateCA = 1

// Line is the invitation that is handed to a new machine.
type Line struct {
	// Server is the URL of the discovery server, without a fragment.
	Server string
	Key    Key
	// Cluster is the Key.Cluster of the cluster.
	Cluster ClusterTag
	// PrivateCA is set where the certificate of the server is of an authority that a new machine
	// does not know. It then takes what the server sends without knowing the server: the key proves
	// that the contents are those that a member has sealed.
	PrivateCA bool
}

// command is what a line begins with where it is copied.
const command = "spanctl join "

// Command returns the line that is printed, which is a secret.
func (l Line) Command() string { return command + l.URL() }

// URL returns the line as a URL, which is a secret.
func (l Line) URL() string {
	raw := make([]byte, 0, fragmentSize)
	raw = append(raw, version, 0)
	if l.PrivateCA {
		raw[1] |= flagPrivateCA
	}
	raw = append(raw, l.Key.raw[:]...)
	raw = append(raw, l.Cluster[:]...)
	return strings.TrimRight(l.Server, "#") + "#" + base64.RawURLEncoding.EncodeToString(append(raw, sumOf(raw)...))
}

func sumOf(raw []byte) []byte {
	sum := sha256.Sum256(raw)
	return sum[:sumSize]
}

var (
	errCut     = errors.New("the line is incomplete or was changed: copy all of what `spanctl invite` has printed, from https:// to the end")
	errVersion = errors.New("the line is of a later version of spanctl: install that version on this machine")
)

// ParseLine reads a line, with or without the command before it. Its errors do not have the key.
func ParseLine(text string) (Line, error) {
	text = strings.Trim(strings.TrimPrefix(strings.TrimSpace(text), command), " \t\r\n\"'")
	if len(text) > maxLine {
		return Line{}, fmt.Errorf("the line has %d characters: want at most %d", len(text), maxLine)
	}
	server, fragment, found := strings.Cut(text, "#")
	if !found || fragment == "" {
		return Line{}, errCut
	}
	// The error of url.Parse has the text.
	u, err := url.Parse(server)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil {
		return Line{}, errors.New("the line does not begin with the URL of a discovery server: want https://HOST/#…")
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(fragment)
	if err != nil || len(raw) <= sumSize || string(raw[len(raw)-sumSize:]) != string(sumOf(raw[:len(raw)-sumSize])) {
		return Line{}, errCut
	}
	if len(raw) != fragmentSize || raw[0] != version || raw[1]&^flagPrivateCA != 0 {
		return Line{}, errVersion
	}
	l := Line{Server: server, PrivateCA: raw[1]&flagPrivateCA != 0}
	copy(l.Key.raw[:], raw[2:])
	copy(l.Cluster[:], raw[2+keySize:])
	return l, nil
}
