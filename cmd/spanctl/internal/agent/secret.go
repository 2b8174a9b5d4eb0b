package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spanmesh/span/cmd/spanctl/internal/regular"
	"github.com/spanmesh/span/schema"
)

// maxSecret is the size of the largest file with a secret, in bytes.
const maxSecret = 4 << 10

// credentials is the environment variable with the directory of a service's credentials
// (systemd.exec(5)).
const credentials = "CREDENTIALS_DIRECTORY"

// ReadSecret reads a secret from the place that a config names.
func ReadSecret(s schema.SecretSource) (string, error) {
	switch {
	case s.File != "":
		return readSecretFile(s.File)
	case s.Env != "":
		text, set := os.LookupEnv(s.Env)
		if !set {
			return "", errors.New("is not set")
		}
		return text, nil
	default:
		dir := os.Getenv(credentials)
		if dir == "" {
			return "", errors.New("is not there: the service got no credentials; LoadCredential= in its unit passes them")
		}
		return readSecretFile(filepath.Join(dir, s.Credential))
	}
}

func readSecretFile(path string) (string, error) {
	text, err := regular.Read(path, maxSecret)
	if failed := (*fs.PathError)(nil); errors.As(err, &failed) {
		err = failed.Err // the problem has the path
	}
	if err != nil {
		return "", fmt.Errorf("cannot be read: %w", err)
	}
	return string(text), nil
}
