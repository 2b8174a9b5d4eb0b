// Package savefile keeps a relay's table and its key in files that only the relay's user can read.
//
// The table outlives the process and not a loss of power: what is lost with it comes back by
// handshakes.
package savefile

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Write replaces a file. Readers see what was there before, or all of the content.
func Write(path string, content []byte) (err error) {
	temporary, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // with mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temporary.Name()))
		}
	}()
	_, err = temporary.Write(content)
	if err = errors.Join(err, temporary.Close()); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}

// Read returns what a file has, up to a number of bytes, and nil without the file.
func Read(path string, most int64) ([]byte, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	content, err := io.ReadAll(io.LimitReader(file, most+1))
	if err == nil && int64(len(content)) > most {
		err = fmt.Errorf("%s has more than %d bytes", path, most)
	}
	return content, err
}

// maxKey bounds a file with a key, in bytes.
const maxKey = 1024

// Key returns the private key in a file, which has it in base64 as `wg genkey` writes it. A missing
// file is made, with a new key.
func Key(path string) (private [32]byte, err error) {
	content, err := Read(path, maxKey)
	switch {
	case err != nil:
		return private, err
	case content == nil:
		return newKey(path)
	}
	if private, ok := parseKey(content); ok {
		return private, nil
	}
	return private, fmt.Errorf("%s has no private key in base64; remove it to have a new one made", path)
}

// parseKey returns the key in the content of a file.
func parseKey(content []byte) (private [32]byte, ok bool) {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(content)))
	if err != nil || len(raw) != len(private) {
		return private, false
	}
	return [32]byte(raw), true
}

func newKey(path string) (private [32]byte, err error) {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return private, err
	}
	private = [32]byte(key.Bytes())
	return private, Write(path, []byte(base64.StdEncoding.EncodeToString(private[:])+"\n"))
}
