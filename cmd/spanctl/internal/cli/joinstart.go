package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/spanmesh/span/cmd/spanctl/internal/agent"
	"github.com/spanmesh/span/cmd/spanctl/internal/invitefile"
	"github.com/spanmesh/span/discoveryhttp/invitation"
	"github.com/spanmesh/span/reconciler/human"
)

// startsUnit reports whether the agent's unit is to be started: that of systemd reads the default paths.
func (j *joining) startsUnit() bool {
	return !j.isAgents() && j.socket == defaultSocket && j.stateDir == defaultStateDir && storedConfig() == defaultConfig && agent.HasUnit("/")
}

// startText says what is done with the agent.
func (j *joining) startText() string {
	switch {
	case j.noStart:
		return "is not started"
	case j.isAgents():
		return "runs, and puts the config in force"
	case j.startsUnit():
		return "systemctl enable --now spanctl"
	}
	return "does not run: start `spanctl run` as a service of this machine"
}

// start starts the agent where systemd has its unit.
func (j *joining) start(ctx context.Context) error {
	if !j.startsUnit() {
		return nil
	}
	out, err := exec.CommandContext(ctx, "systemctl", "enable", "--now", "spanctl.service").CombinedOutput()
	if err != nil {
		return fmt.Errorf("the config is stored, but the agent does not start: systemctl enable --now spanctl: %w: %s\n  `journalctl -u spanctl` says why",
			err, plain(strings.TrimSpace(string(out))))
	}
	j.http.CloseIdleConnections() // without an agent, they are to this process
	return nil
}

// openFile opens the sealed file.
func (j *joining) openFile(ctx context.Context) ([]byte, error) {
	file, err := readFile(ctx, j.streams, j.file)
	if err != nil {
		return nil, err
	}
	switch {
	case j.identity != "":
		keys, err := readFile(ctx, j.streams, j.identity)
		if err != nil {
			return nil, fmt.Errorf("read the key: %w", err)
		}
		return invitefile.OpenWithIdentities(file, keys)
	case j.passphrase.path == "":
		switch err := invitefile.Wants(file); {
		case errors.Is(err, invitefile.ErrIdentity):
			return nil, fmt.Errorf("%w: give --identity with its file", err)
		case !errors.Is(err, invitefile.ErrPassphrase):
			return nil, err
		}
	}
	passphrase, err := j.passphrase.read(ctx, j.streams, "Passphrase of the file: ")
	if err != nil {
		return nil, err
	}
	return invitefile.OpenWithPassphrase(file, passphrase)
}

// largeSkew is by how much a clock may differ before that is said.
const largeSkew = time.Minute

// skewText says by how much this machine's clock differs from a server's; "" if that is little.
func skewText(skew time.Duration) string {
	if skew.Abs() < largeSkew {
		return ""
	}
	where := "ahead of"
	if skew < 0 {
		where = "behind"
	}
	return fmt.Sprintf("the clock of this machine is %s %s the server's: set it, such as with `timedatectl set-ntp true`", human.Duration(skew.Abs()), where)
}

const another = "ask for another line: `spanctl invite` on a machine of the mesh"

// joinError adds to the error of an invitation that was not taken what to do about it.
func joinError(err error, now time.Time) error {
	if ended, ok := errors.AsType[*invitation.EndedError](err); ok {
		err = fmt.Errorf("%w: %s", err, another)
		if ended.Used {
			return fmt.Errorf("%w, with --uses for several machines", err)
		}
		if text := skewText(ended.Skew); text != "" {
			err = fmt.Errorf("%w (%s)", err, text)
		}
		return err
	}
	if failed, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fmt.Errorf("%w: %s", err, certificateRemedy(failed, now))
	}
	switch {
	case errors.Is(err, invitation.ErrUnknown):
		return fmt.Errorf("%w: it was revoked, or expired more than a day ago, or the line is for another server: %s", err, another)
	case errors.Is(err, invitation.ErrUnsupported):
		return fmt.Errorf("%w: check that the address of the line is that of the discovery server, and that no proxy answers in its place", err)
	}
	return fmt.Errorf("%w: check that this machine reaches the server, by its name and port, with the proxy of $HTTPS_PROXY if it wants one; then run the command again, which is not counted twice", err)
}

// certificateRemedy says what to do about a certificate that is not taken.
func certificateRemedy(err error, now time.Time) string {
	var invalid x509.CertificateInvalidError
	var authority x509.UnknownAuthorityError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Sprintf("the clock of this machine says %s: set it if that is wrong, else the certificate of the server is to be renewed", now.UTC().Format(time.RFC3339))
	case errors.As(err, &authority):
		return "add the authority of the server's certificate to those of this system, or set cluster.discovery.registries.service.ca on the machine that invites, and ask for another line"
	}
	return "the certificate is to have the name in the line"
}
