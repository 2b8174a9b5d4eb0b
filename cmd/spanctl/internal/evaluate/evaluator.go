package evaluate

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"cuelang.org/go/cue/parser"

	"github.com/spanmesh/span/schema"
)

const (
	// maxChildren is how many children an Evaluator has at a time.
	maxChildren = 2
	// maxKept is how many answers an Evaluator keeps.
	maxKept = 8
	// keptExhausted is how long it keeps the answer that a config takes too much.
	keptExhausted = time.Minute
	// starts is how often a child is started that cannot be, with startPause in between:
	// there may be too many processes for a moment.
	starts     = 3
	startPause = 100 * time.Millisecond
)

// Evaluator evaluates configs in child processes. It keeps the last answers, unless a config
// imports files. Its methods may be called concurrently. Its zero value is ready.
type Evaluator struct {
	// Limits are what an evaluation may use; usual ones if they are zero.
	Limits Limits

	mu    sync.Mutex
	slots chan struct{}
	kept  []kept
}

// kept is an answer that an Evaluator keeps.
type kept struct {
	key   [sha256.Size]byte
	end   ended
	until time.Time // zero for no end
}

// Evaluate makes a config, and reads the secrets that it has elsewhere if the request has a
// ReadSecret. It returns schema.Problems for a config with faults and for one that takes too much
// time or memory, a *CrashError for an evaluation that broke, and the error of ctx if that ended.
func (e *Evaluator) Evaluate(ctx context.Context, r Request) (*Result, error) {
	a, err := e.answer(ctx, r)
	if err != nil {
		return nil, err
	}
	result, err := a.result()
	if err == nil {
		err = result.ReadSecrets(r.ReadSecret)
	}
	if err != nil {
		return nil, err
	}
	return result, nil
}

// answer returns what the child for a request said, which is not an error.
func (e *Evaluator) answer(ctx context.Context, r Request) (*answer, error) {
	name := "the config"
	if len(r.Sources) > 0 {
		name = r.Sources[0].Name
	}
	end, err := e.end(ctx, r)
	if err != nil {
		return nil, err
	}
	if err := end.fault(name); err != nil {
		return nil, err
	}
	return end.answer, end.answer.err()
}

// end returns how the child for a request ended, now or before.
func (e *Evaluator) end(ctx context.Context, r Request) (ended, error) {
	limits := cmp.Or(e.Limits, usual)
	var text bytes.Buffer
	if err := r.write(&text, limits); err != nil {
		return ended{}, err
	}
	key := sha256.Sum256(text.Bytes())
	if end, ok := e.find(key, time.Now()); ok {
		return end, nil
	}
	release, err := e.slot(ctx)
	if err != nil {
		return ended{}, err
	}
	defer release()
	if end, ok := e.find(key, time.Now()); ok {
		return end, nil
	}
	for attempt := 1; ; attempt++ {
		end, err := run(ctx, r, limits)
		if err == nil {
			if r.kind == kindConfig && isAlone(r) {
				e.keep(key, end, time.Now())
			}
			return end, nil
		}
		if ctx.Err() != nil || attempt == starts {
			return end, err
		}
		select {
		case <-ctx.Done():
			return end, errors.Join(ctx.Err(), err)
		case <-time.After(startPause):
		}
	}
}

// isAlone reports whether nothing but its texts can change the answer to a request: none is a
// directory, and none imports files. The paths of CUE's own packages begin without a dot.
func isAlone(r Request) bool {
	for _, one := range slices.Concat(r.Sources, r.Patches) {
		if one.Data == nil {
			return false
		}
		if schema.FormatOf(one.Name) != schema.FormatCUE {
			continue
		}
		file, err := parser.ParseFile(one.Name, one.Data, parser.ImportsOnly)
		if err != nil {
			return false
		}
		for spec := range file.ImportSpecs() {
			if first, _, _ := strings.Cut(spec.Path.Value, "/"); strings.Contains(first, ".") {
				return false
			}
		}
	}
	return true
}

// slot waits until a child may be started.
func (e *Evaluator) slot(ctx context.Context) (release func(), err error) {
	e.mu.Lock()
	if e.slots == nil {
		e.slots = make(chan struct{}, maxChildren)
	}
	slots := e.slots
	e.mu.Unlock()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case slots <- struct{}{}:
		return func() { <-slots }, nil
	}
}

func (e *Evaluator) find(key [sha256.Size]byte, now time.Time) (ended, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.kept = slices.DeleteFunc(e.kept, func(k kept) bool { return !k.until.IsZero() && now.After(k.until) })
	for _, k := range e.kept {
		if k.key == key {
			return k.end, true
		}
	}
	return ended{}, false
}

// keep keeps an answer that would be the same again.
func (e *Evaluator) keep(key [sha256.Size]byte, end ended, now time.Time) {
	k := kept{key: key, end: end}
	if end.exhausted() != 0 {
		k.until = now.Add(keptExhausted)
	} else if end.answer == nil || end.answer.Fault != "" {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.kept = append(e.kept, k); len(e.kept) > maxKept {
		e.kept = e.kept[1:]
	}
}
