package evaluate_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/cmd/spanctl/internal/evaluate"
	"github.com/spanmesh/span/cmd/spanctl/internal/evaluate/evaluatetest"
	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/load"
)

// endless has TestMain evaluate a config without end, after the end of its input.
const endless = "EVALUATE_TEST_ENDLESS"

func TestMain(m *testing.M) {
	evaluatetest.Main()
	if os.Getenv(endless) != "" {
		_, _ = io.Copy(io.Discard, os.Stdin) // until the test is ready
		_, _ = (&evaluate.Evaluator{}).Evaluate(context.Background(), one("m.cue", square))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// square asks for 490,000 values.
const square = `import "list"
machine: network: kubespan: mtu: len([for x in list.Range(0, 700, 1) for y in list.Range(0, 700, 1) {"\(x)-\(y)"}])
`

func one(name, text string) evaluate.Request {
	return evaluate.Request{Input: load.Input{Sources: []schema.Source{{Name: name, Data: []byte(text)}}}}
}

// full sets every kind of setting.
const full = `machine: network: kubespan: {
	enabled: true
	mtu: "auto"
	filters: {
		endpoints: ["!10.1.0.0/16", "0.0.0.0/0", "::/0"]
		interfaces: ["!docker*", "*"]
		excludeAdvertisedNetworks: []
	}
	extraAnnouncedEndpoints: ["192.0.2.1:51820", "[2001:db8::1]:1"]
	advertisedNetworks: ["10.9.0.0/16", "2001:db8:9::/48"]
	addresses: ["10.5.0.1/24"]
	persistentKeepalive: 0
	fwmark: 0x80
}
cluster: {
	id: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	secret: "BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	discovery: enabled: true
	discovery: registries: {
		service: {endpoint: "https://discovery.example/a&b/"}
		static: peers: [{
			name: "a.b_c"
			publicKey: "CAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
			allowedIPs: ["10.7.7.7/8"]
			presharedKey: file: "/no/such/key"
		}, {
			name: "b"
			publicKey: "DAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
			allowedIPs: ["10.8.0.0/32"]
			presharedKey: "EAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
		}]
	}
}
`

// TestSame compares configs and faults that come from a child with those made here.
func TestSame(t *testing.T) {
	t.Parallel()
	texts := map[string]string{
		"full.cue": full, "empty.cue": "", "empty.yaml": "", "syntax.cue": "machine: {", "syntax.json": `{"machine": `,
		"wrong.yaml": "machine:\n  network:\n    kubespan:\n      mtu: 3\n      what: \"\xff\"\ncluster:\n  secret: geheim\n",
		"off.json":   `{"machine": {"network": {"kubespan": {"enabled": false}}}}`,
	}
	examples, err := filepath.Glob("../../../../examples/*/*.*")
	if err != nil || len(examples) == 0 {
		t.Fatal("no examples:", err)
	}
	for _, path := range examples {
		if data, err := os.ReadFile(path); err == nil && schema.FormatOf(path) != schema.FormatCUE || strings.HasSuffix(path, ".cue") {
			texts[path] = string(data)
		}
	}
	key := strings.Repeat("A", 42) + "8="
	for _, read := range []load.ReadSecret{nil,
		func(schema.SecretSource) (string, error) { return key, nil },
		func(schema.SecretSource) (string, error) { return "", errors.New("is locked away") },
	} {
		e := &evaluate.Evaluator{}
		for name, text := range texts {
			r := one(name, text)
			r.ReadSecret = read
			want, wantErr := r.Load()
			got, err := e.Evaluate(t.Context(), r)
			if !reflect.DeepEqual(err, wantErr) {
				t.Errorf("%s: the child's error is\n%#v\nwant\n%#v", name, err, wantErr)
			}
			if wantErr == nil && (got == nil || !reflect.DeepEqual(got.Config, want) || string(got.Source.Data) != text) {
				t.Errorf("%s: the child's config is\n%+v\nwant\n%+v", name, got, want)
			}
		}
	}
}

// TestLimits evaluates configs that take too much, each within limits that a plain config
// does not come near.
func TestLimits(t *testing.T) {
	t.Parallel()
	limits := evaluate.Limits{Time: time.Minute, Wait: 5 * time.Minute, Memory: 160 << 20}
	brief := limits
	brief.Time = time.Second
	var aliases strings.Builder
	aliases.WriteString("a0: &a0 [" + strings.Repeat("x, ", 9) + "x]\n")
	for i := 1; i < 9; i++ {
		before := "*a" + strconv.Itoa(i-1)
		aliases.WriteString("a" + strconv.Itoa(i) + ": &a" + strconv.Itoa(i) + " [" + strings.Repeat(before+", ", 9) + before + "]\n")
	}
	for name, c := range map[string]struct {
		limits           evaluate.Limits
		name, text, want string
	}{
		"a square comprehension":    {brief, "m.cue", square, "takes more than 1s to evaluate"},
		"a list that eats memory":   {limits, "m.cue", "import \"strings\"\nx: strings.Repeat(strings.Repeat(\"0123456789\", 1000), 20000)\n", "of memory to evaluate"},
		"aliases of aliases":        {limits, "m.yaml", aliases.String(), ""},
		"lists in lists":            {limits, "m.json", strings.Repeat("[", 2<<20), ""},
		"structs in structs":        {limits, "m.cue", strings.Repeat("a:{", 1<<20), ""},
		"a call without an end":     {limits, "m.cue", "f: {n: int, out: (f & {n: n+1}).out}\nmachine: network: kubespan: mtu: (f & {n: 1}).out\n", ""},
		"a structural cycle":        {limits, "m.cue", "machine: machine\nx: {y: x}\n", ""},
		"a pattern with repetition": {limits, "m.cue", "x: \"a\" & =~\"((((a{1,100}){1,100}){1,100}){1,100})\"\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := (&evaluate.Evaluator{Limits: c.limits}).Evaluate(t.Context(), one(c.name, c.text))
			var problems schema.Problems
			if !errors.As(err, &problems) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %.300q, want problems with %q", err, c.want)
			}
			t.Logf("%.300v", err)
		})
	}
	if _, err := (&evaluate.Evaluator{Limits: limits}).Evaluate(t.Context(), one("m.cue", full)); err != nil {
		t.Error("a plain config:", err)
	}
}

// TestPanic evaluates a request that cannot come from a command.
func TestPanic(t *testing.T) {
	t.Parallel()
	r := evaluate.Request{Patches: []schema.Source{{Name: "p.cue", Data: []byte("{}")}}}
	_, err := (&evaluate.Evaluator{}).Evaluate(t.Context(), r)
	var crash *evaluate.CrashError
	if !errors.As(err, &crash) || !strings.Contains(err.Error(), "evaluate.Request.evaluate") {
		t.Errorf("the error is %v", err)
	}
}

// TestCancel ends an evaluation with its context.
func TestCancel(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := (&evaluate.Evaluator{}).Evaluate(ctx, one("m.cue", square))
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}

// TestKilledWithParent kills a process that evaluates a config, and awaits the end of its child.
func TestKilledWithParent(t *testing.T) {
	t.Parallel()
	parent := exec.CommandContext(t.Context(), os.Args[0])
	parent.Env = append(os.Environ(), endless+"=1", "SECRET_OF_PARENT=geheim")
	begin, err := parent.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	children := evaluatetest.Of(t, parent.Process.Pid)
	if err := begin.Close(); err != nil {
		t.Fatal(err)
	}
	child := children.Await()
	if env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", child.PID)); err != nil || strings.Contains(string(env), "geheim") {
		t.Errorf("the environment of the child is %q, %v", env, err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	child.AwaitEnd()
}
