// Package invitefile seals invitations into files, for clusters without a discovery server that
// keeps them. The files are those of age (filippo.io/age): `age --decrypt` opens them as well.
package invitefile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/spanmesh/span/discoveryhttp/invitation"
)

const (
	// MaxFile is the length of the longest file that is opened, in bytes.
	MaxFile = 4 * invitation.MaxConfig
	// workFactor is the cost of scrypt for a passphrase, and the most that is spent on one: 256 MiB of
	// memory, for about a second.
	workFactor = 18
	// leastPassphrase is the length of the shortest passphrase, in characters. Who has the file may
	// try as many as they like.
	leastPassphrase = 12
)

// SealForPassphrase seals a config, in text that can be mailed.
func SealForPassphrase(config []byte, passphrase string) ([]byte, error) {
	if len([]rune(passphrase)) < leastPassphrase {
		return nil, fmt.Errorf("the passphrase has %d characters: want at least %d, since who has the file can try any number of them", len([]rune(passphrase)), leastPassphrase)
	}
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, fmt.Errorf("take the passphrase: %w", err)
	}
	recipient.SetWorkFactor(workFactor)
	return seal(config, recipient)
}

// SealForRecipients seals a config for public keys of age, such as `age-keygen` prints them.
func SealForRecipients(config []byte, keys []string) ([]byte, error) {
	recipients, err := age.ParseRecipients(strings.NewReader(strings.Join(keys, "\n")))
	if err != nil {
		return nil, fmt.Errorf("read the recipients: %w: want public keys of age, such as age1…", err)
	}
	return seal(config, recipients...)
}

func seal(config []byte, recipients ...age.Recipient) ([]byte, error) {
	if len(config) > invitation.MaxConfig {
		return nil, fmt.Errorf("the config for the new machine has %d bytes: want at most %d", len(config), invitation.MaxConfig)
	}
	var out bytes.Buffer
	text := armor.NewWriter(&out)
	sealed, err := age.Encrypt(text, recipients...)
	if err == nil {
		_, err = sealed.Write(config)
	}
	if err == nil {
		err = errors.Join(sealed.Close(), text.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("seal the config: %w", err)
	}
	return out.Bytes(), nil
}

var (
	// ErrPassphrase is the error of a file that wants a passphrase.
	ErrPassphrase = errors.New("the file wants a passphrase")
	// ErrIdentity is the error of a file that wants a private key.
	ErrIdentity = errors.New("the file is sealed for a key")
	// errOther is that of a file that cannot be opened with what was given.
	errOther = errors.New("the file cannot be opened with that: it is another passphrase or key, or the file was changed")
)

// Wants returns what a file wants, ErrPassphrase or ErrIdentity, or why it is none.
func Wants(file []byte) error {
	_, err := open(file, probe{})
	return err
}

// probe is an identity that opens nothing, and finds out what a file wants.
type probe struct{}

// Unwrap implements age.Identity.
func (probe) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	if len(stanzas) == 1 && stanzas[0].Type == "scrypt" {
		return nil, ErrPassphrase
	}
	return nil, ErrIdentity
}

// OpenWithPassphrase opens a file, and returns the config.
func OpenWithPassphrase(file []byte, passphrase string) ([]byte, error) {
	if passphrase == "" {
		return nil, errors.New("the passphrase is empty")
	}
	identity, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, fmt.Errorf("take the passphrase: %w", err)
	}
	identity.SetMaxWorkFactor(workFactor)
	return open(file, identity)
}

// OpenWithIdentities opens a file with private keys, as `age-keygen` writes them into a file.
func OpenWithIdentities(file []byte, keys []byte) ([]byte, error) {
	identities, err := age.ParseIdentities(bytes.NewReader(keys))
	if err != nil {
		// Its errors may have the text.
		return nil, errors.New("the file of the key has none: want AGE-SECRET-KEY-1…, as `age-keygen` writes it")
	}
	return open(file, identities...)
}

func open(file []byte, identities ...age.Identity) ([]byte, error) {
	if len(file) > MaxFile {
		return nil, fmt.Errorf("the file has more than %d bytes: it is no invitation", MaxFile)
	}
	var in io.Reader = bytes.NewReader(file)
	if bytes.HasPrefix(bytes.TrimSpace(file), []byte(armor.Header)) {
		in = armor.NewReader(in)
	}
	plain, err := age.Decrypt(in, identities...)
	if err == nil {
		var config []byte
		if config, err = io.ReadAll(io.LimitReader(plain, invitation.MaxConfig+1)); err == nil && len(config) > invitation.MaxConfig {
			return nil, fmt.Errorf("what the file seals has more than %d bytes: it is no config", invitation.MaxConfig)
		}
		if err == nil {
			return config, nil
		}
	}
	for _, wanted := range []error{ErrPassphrase, ErrIdentity} {
		if errors.Is(err, wanted) {
			return nil, wanted
		}
	}
	if _, other := errors.AsType[*age.NoIdentityMatchError](err); other {
		return nil, errOther
	}
	return nil, fmt.Errorf("the file is no invitation, or was cut or changed: %w", err)
}
