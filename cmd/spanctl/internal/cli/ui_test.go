package cli

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestBrowserIsOpenedOnADesktop(t *testing.T) {
	for _, test := range []struct {
		name     string
		env      map[string]string
		user     int
		terminal bool
		want     bool
	}{
		{"X11", map[string]string{"DISPLAY": ":0"}, 1000, true, true},
		{"Wayland", map[string]string{"WAYLAND_DISPLAY": "wayland-0"}, 1000, true, true},
		{"no desktop", nil, 1000, true, false},
		{"root", map[string]string{"DISPLAY": ":0"}, 0, true, false},
		{"by ssh, with a forwarded display", map[string]string{"DISPLAY": "localhost:10.0", "SSH_CONNECTION": "192.0.2.1 1 192.0.2.2 22"}, 1000, true, false},
		{"the output is read by a program", map[string]string{"DISPLAY": ":0"}, 1000, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := isDesktop(func(name string) string { return test.env[name] }, test.user, test.terminal); got != test.want {
				t.Errorf("%t, want %t", got, test.want)
			}
		})
	}
}

func TestPageListensOnLoopback(t *testing.T) {
	for _, test := range []struct {
		listen string
		remote bool
		fault  string
	}{
		{"127.0.0.1:0", false, ""},
		{"127.8.9.10:8080", false, ""},
		{"[::1]:8080", false, ""},
		{"localhost:8080", false, ""},
		{"192.0.2.1:8080", false, "--allow-remote"},
		{"0.0.0.0:8080", false, "--allow-remote"},
		{":8080", false, "--allow-remote"},
		{"[fd00::1]:8080", false, "--allow-remote"},
		{"192.0.2.1:8080", true, ""},
		{":8080", true, ""},
		{"web1:8080", true, "want an IP address"},
		{"8080", false, "want an address and a port"},
	} {
		err := (&uiOptions{listen: test.listen, allowRemote: test.remote}).checkListen()
		if (err != nil) != (test.fault != "") || err != nil && !strings.Contains(err.Error(), test.fault) {
			t.Errorf("--listen %s: %v, want %q", test.listen, err, test.fault)
		}
	}
}

func TestPageExplainsAsTheCommandDoes(t *testing.T) {
	text, err := explanation("PeerDown")
	if err != nil || !strings.Contains(text, "PeerDown") {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := explanation("NoSuchCode"); err == nil {
		t.Error("a code that does not exist is explained")
	}
}

func TestMachinesOfThePage(t *testing.T) {
	for _, test := range []struct {
		name        string
		globals     globals
		ids, refuse string
	}{
		{"this one", globals{}, "local", ""},
		{"that of --host", globals{host: "root@web1"}, "root@web1", ""},
		{"those of --nodes", globals{nodes: []string{"root@web1", "ssh://root@web2:2222"}}, "root@web1 root@web2:2222", ""},
		{"one twice", globals{nodes: []string{"root@web1", "ssh://root@web1"}}, "", "named twice"},
		{"an option of ssh", globals{nodes: []string{"-oProxyCommand=x"}}, "", "want user@machine"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.globals.socket = t.TempDir() + "/none"
			cmd := &cobra.Command{}
			machines, err := test.globals.uiMachines(cmd)
			var ids []string
			for _, m := range machines {
				ids = append(ids, m.ID)
			}
			if got := strings.Join(ids, " "); got != test.ids || (err != nil) != (test.refuse != "") || err != nil && !strings.Contains(err.Error(), test.refuse) {
				t.Errorf("%q, %v; want %q, %q", got, err, test.ids, test.refuse)
			}
		})
	}
}

// outputLines passes on the lines that a command prints.
type outputLines struct {
	*io.PipeWriter
	lines *bufio.Scanner
}

func newOutputLines() *outputLines {
	r, w := io.Pipe()
	return &outputLines{w, bufio.NewScanner(r)}
}

func (o *outputLines) next(t *testing.T) string {
	t.Helper()
	if !o.lines.Scan() {
		t.Fatalf("the command printed nothing more: %v", o.lines.Err())
	}
	return o.lines.Text()
}

// TestPageWithoutAnAgent runs the command where no agent is. Enter prints another URL, which replaces
// the first.
func TestPageWithoutAnAgent(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	stdin, enter := io.Pipe()
	stdout := newOutputLines()
	root := Root()
	root.SetArgs([]string{"ui", "--no-open", "--socket", dir + "/none", "--state-dir", dir})
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(io.Discard)
	ended := make(chan error, 1)
	go func() { ended <- root.ExecuteContext(ctx) }()

	first := stdout.next(t)
	if _, err := enter.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	second := stdout.next(t)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar}
	get := func(url string) (status int, body io.Reader) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = response.Body.Close() })
		return response.StatusCode, response.Body
	}
	if status, _ := get(first); status != http.StatusUnauthorized {
		t.Errorf("the first URL is %d", status)
	}
	if status, _ := get(second); status != http.StatusOK {
		t.Errorf("the second URL is %d", status)
	}
	origin, _, _ := strings.Cut(second, "?")
	_, body := get(origin + "api/stream")
	stream := bufio.NewScanner(body)
	for stream.Scan() {
		if strings.Contains(stream.Text(), `"state":"no agent"`) && strings.Contains(stream.Text(), `"code":"NoAgent"`) {
			break
		}
	}
	if err := stream.Err(); err != nil {
		t.Errorf("the stream: %v", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("the command ended with %v", err)
	}
	for stream.Scan() { // it ends with the command
	}
}
