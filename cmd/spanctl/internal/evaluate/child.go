package evaluate

import (
	"bytes"
	"encoding/gob"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/load"
	"github.com/spanmesh/span/schema/patch"
)

// Command is the hidden command that makes this process the child.
const Command = "evaluate-process"

// IsChild reports whether the arguments of this process, without its name, make it the child.
func IsChild(args []string) bool { return len(args) == 1 && args[0] == Command }

// Main is the child. It returns the exit status.
func Main(in io.Reader, out io.Writer) int {
	// Whatever prints must not print into the answer.
	os.Stdout = os.Stderr
	r, limits, err := readRequest(in)
	if err != nil {
		return exitProtocol
	}
	confine(limits)
	c := &child{out: out}
	// A process without memory encodes nothing.
	overTime, overMemory := encoded(answer{Exhausted: limitTime}), encoded(answer{Exhausted: limitMemory})
	exhausted := make(chan os.Signal, 1)
	signal.Notify(exhausted, unix.SIGXCPU)
	go func() {
		<-exhausted
		c.end(overTime)
	}()
	go func() {
		awaitMemory(limits.Memory)
		c.end(overMemory)
	}()
	c.say(encoded(evaluate(r)))
	return exitOK
}

// The exit statuses of the child.
const (
	exitOK       = 0
	exitProtocol = 3
)

// child writes one answer.
type child struct {
	out  io.Writer
	once sync.Once
}

func (c *child) say(text []byte) {
	c.once.Do(func() { _, _ = c.out.Write(text) }) // a parent that is gone reads nothing
}

// end ends the process with an answer.
func (c *child) end(text []byte) {
	c.say(text)
	os.Exit(exitOK)
}

func encoded(a answer) []byte {
	var text bytes.Buffer
	_ = gob.NewEncoder(&text).Encode(a) // the parent finds that there is no answer
	return text.Bytes()
}

// evaluate answers a request, whatever CUE does with it.
func evaluate(r Request) (a answer) {
	defer func() {
		if recover() != nil {
			a = answer{Panic: panicked()}
		}
	}()
	return r.answer()
}

func (r Request) evaluate() (*Result, error) {
	if len(r.Patches) == 0 {
		loaded, err := r.Evaluate()
		return &Result{Evaluated: loaded}, err
	}
	// One file may be valid only with its patches. Several must be valid without.
	base := r.Sources[0]
	if r.IsComputed() {
		loaded, err := r.Evaluate()
		if err != nil {
			return nil, err
		}
		base = loaded.Source
	}
	patched, err := patch.Apply(base, r.Patches...)
	if err != nil {
		return nil, err
	}
	loaded, err := load.Input{Sources: []schema.Source{patched.Source}}.Evaluate()
	return &Result{Evaluated: loaded, Rewritten: patched.Rewritten}, err
}

// panicked returns the name of the function that panicked. The value of a panic may have texts
// of the config.
func panicked() string {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		frame, more := frames.Next()
		ours := strings.HasPrefix(frame.Function, "runtime.") || strings.HasSuffix(frame.Function, "evaluate.evaluate.func1")
		if !ours || !more {
			return frame.Function
		}
	}
}
