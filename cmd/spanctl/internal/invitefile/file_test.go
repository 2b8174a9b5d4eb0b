package invitefile_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/spanmesh/span/cmd/spanctl/internal/invitefile"
)

const (
	config     = "machine: network: kubespan: enabled: true\n"
	passphrase = "correct horse battery"
)

func TestPassphrase(t *testing.T) {
	sealed, err := invitefile.SealForPassphrase([]byte(config), passphrase)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("kubespan")) || !strings.HasPrefix(string(sealed), "-----BEGIN AGE ENCRYPTED FILE-----\n") {
		t.Errorf("the file is %s", sealed)
	}
	if !errors.Is(invitefile.Wants(sealed), invitefile.ErrPassphrase) {
		t.Error("it wants no passphrase")
	}
	if got, err := invitefile.OpenWithPassphrase(sealed, passphrase); err != nil || string(got) != config {
		t.Errorf("got %q, %v", got, err)
	}
	expectError(t, "another passphrase", "another passphrase or key", opened(sealed, func(f []byte) ([]byte, error) { return invitefile.OpenWithPassphrase(f, passphrase+"x") }))
	expectError(t, "a cut file", "cut or changed", opened(sealed[:len(sealed)/4], func(f []byte) ([]byte, error) { return invitefile.OpenWithPassphrase(f, passphrase) }))
	_, err = invitefile.SealForPassphrase([]byte(config), "short")
	expectError(t, "a short passphrase", "has 5 characters: want at least 12", err)
	_, err = invitefile.SealForPassphrase(make([]byte, 100_000), passphrase)
	expectError(t, "a config that is too long", "want at most 65536", err)
}

func TestRecipient(t *testing.T) {
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := invitefile.SealForRecipients([]byte(config), []string{key.Recipient().String()})
	if err != nil {
		t.Fatal(err)
	}
	if !errors.Is(invitefile.Wants(sealed), invitefile.ErrIdentity) {
		t.Error("it wants no key")
	}
	if got, err := invitefile.OpenWithIdentities(sealed, []byte(key.String()+"\n")); err != nil || string(got) != config {
		t.Errorf("got %q, %v", got, err)
	}
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	expectError(t, "another key", "another passphrase or key", opened(sealed, func(f []byte) ([]byte, error) { return invitefile.OpenWithIdentities(f, []byte(other.String())) }))
	_, err = invitefile.OpenWithIdentities(sealed, []byte("AGE-SECRET-KEY-1NONE"))
	expectError(t, "no key", "as `age-keygen` writes it", err)
	if strings.Contains(err.Error(), "1NONE") {
		t.Errorf("the error has the key: %v", err)
	}
	_, err = invitefile.SealForRecipients([]byte(config), []string{"nobody"})
	expectError(t, "no recipient", "want public keys of age", err)
}

func opened(file []byte, open func([]byte) ([]byte, error)) error {
	_, err := open(file)
	return err
}

func expectError(t *testing.T, what, want string, err error) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: %v, want %s", what, err, want)
	}
}

// FuzzOpen opens arbitrary files.
func FuzzOpen(f *testing.F) {
	key, err := age.GenerateX25519Identity()
	if err != nil {
		f.Fatal(err)
	}
	sealed, err := invitefile.SealForRecipients([]byte(config), []string{key.Recipient().String()})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add([]byte("age-encryption.org/v1\n-> scrypt AAAA 30\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		if got, err := invitefile.OpenWithIdentities(file, []byte(key.String())); err == nil && string(got) != config {
			t.Errorf("%q was opened", got)
		}
		if invitefile.Wants(file) == nil {
			t.Error("it wants nothing")
		}
	})
}
