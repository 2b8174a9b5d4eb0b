package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeSSH makes a program take the place of ssh: it prints its arguments and does what its host is
// named for.
func fakeSSH(t *testing.T) {
	t.Helper()
	script := filepath.Join(t.TempDir(), "ssh")
	text := `shift # --
host=$1
shift
if [ $host = json ]; then
	printf '%s' "$SPANCTL_TEST_REPORT"
	exit 1
fi
echo "$@"
printf 'a title: \033]0;x\007\n'
case $host in
warns) exit 1 ;;
fails) exit 2 ;;
gone) echo 'no route to host' >&2; exit 255 ;;
esac
`
	if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SPANCTL_TEST_REPORT", `{"apiVersion":"spanctl/v1","checks":[{"grade":"ok","check":"port","what":"is free"}]}`)
	t.Setenv(sshVariable, "/bin/sh "+script)
}

func TestDoctorThere(t *testing.T) {
	fakeSSH(t)
	for _, c := range []struct {
		name   string
		args   []string
		status int
		stdout []string
	}{
		{"all is well", []string{"doctor", "--host", "well"}, 0, []string{"spanctl doctor\n", `\x1b]0;x\a`}},
		{"flags go along", []string{"doctor", "--host", "fails", "-o", "json", "--socket", "/run/a b"}, 2, []string{"spanctl doctor --output=json '--socket=/run/a b'\n"}},
		{"the worst of several", []string{"doctor", "-n", "well,fails,warns"}, 2, []string{"NODE well\nspanctl doctor\n", "NODE fails\n", "NODE warns\n"}},
		{"one that is not reached", []string{"doctor", "-n", "well,gone"}, 3, []string{"NODE well\n"}},
		{"one list", []string{"doctor", "-o", "json", "-n", "json,gone"}, 3, []string{`"node": "json",
      "checks": [
        {
          "grade": "ok",`, `"node": "gone",
      "error": "no route to host`}},
		{"a host that would be an option", []string{"doctor", "--host", "-oProxyCommand=x"}, 1, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if status := Main(c.args, strings.NewReader(""), &stdout, &stderr); status != c.status {
				t.Errorf("the status is %d, want %d: %s", status, c.status, stderr.String())
			}
			for _, want := range c.stdout {
				if !strings.Contains(stdout.String(), want) {
					t.Errorf("no %q in %q", want, stdout.String())
				}
			}
			if strings.Contains(stdout.String(), "\x1b") {
				t.Errorf("what controls the terminal is printed as it is: %q", stdout.String())
			}
		})
	}
}
