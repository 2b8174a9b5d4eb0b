package load

import (
	"net/netip"
	"strconv"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/token"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/internal/check"
	"github.com/spanmesh/span/schema/internal/files"
)

// settings answers the questions of check.Complete about a config.
type settings struct {
	// user is what the user wrote.
	user cue.Value
	// full is the same, unified with the schema.
	full cue.Value
}

// Is implements check.Settings.
func (s settings) Is(path string, value bool) bool {
	got, err := at(s.full, path).Bool()
	return err == nil && got == value
}

// Missing implements check.Settings.
func (s settings) Missing(path string) bool {
	v := at(s.user, path)
	if !v.Exists() {
		return true
	}
	v, _ = v.Default()
	text, err := v.String()
	return err == nil && text == "" || v.Kind() == cue.BottomKind && v.IncompleteKind() == cue.BoolKind
}

// Len implements check.Settings.
func (s settings) Len(path string) int {
	n, _ := at(s.full, path).Len().Int64()
	return int(n)
}

// Same implements check.Settings.
func (s settings) Same(path, other string) bool {
	one, err := at(s.full, path).Int64()
	two, otherErr := at(s.full, other).Int64()
	return err == nil && otherErr == nil && one == two
}

// checkComplete returns the problems of a config that lacks settings. It returns none for a part
// of a config.
func (l *loader) checkComplete(full cue.Value) (problems schema.Problems) {
	if !l.complete {
		return nil
	}
	if fields, err := l.user.Fields(); err == nil && !fields.Next() {
		// A file that is being written may be empty for a moment. It must not be taken for
		// the config of a machine without KubeSpan.
		p := schema.Problem{File: l.name, Reason: "is empty",
			Want: `a machine config with the fields "machine" and "cluster"; to leave the mesh, set machine.network.kubespan.enabled to false`}
		l.files.At(&p, l.user.Pos())
		return schema.Problems{p}
	}
	return append(problems, l.faults(check.Complete(settings{l.user, full}))...)
}

// faults returns problems for the faults that checks found. Each has the position of its setting,
// or of the nearest struct around it, or of the setting that makes it a fault.
func (l *loader) faults(found []check.Fault) (problems schema.Problems) {
	for _, f := range found {
		p := schema.Problem{File: l.name, Path: f.Path, Value: f.Value, Reason: f.Reason, Want: f.Want}
		if text, err := strconv.Unquote(f.Value); err == nil && !isNetwork(text) && !l.files.IsWritten(text) {
			p.Value = files.Computed
		}
		for _, path := range []string{f.Path, f.AskedBy} {
			if v := l.user.LookupPath(cue.ParsePath(path)); v.Exists() {
				l.files.At(&p, v.Pos())
				break
			}
		}
		if p.Line == 0 && f.AskedBy == "" {
			l.files.At(&p, l.around(f.Path))
		}
		problems = append(problems, p)
	}
	return problems
}

// around returns the position of the innermost written struct around a setting that is missing, or
// else of the first setting.
func (l *loader) around(path string) token.Pos {
	for at := strings.LastIndex(path, "."); at > 0; at = strings.LastIndex(path[:at], ".") {
		if pos := writtenAt(l.user.LookupPath(cue.ParsePath(path[:at]))); pos.IsValid() {
			return pos
		}
	}
	for it, err := l.user.Fields(); err == nil && it.Next(); {
		if pos := writtenAt(it.Value()); pos.IsValid() {
			return pos
		}
	}
	return token.NoPos
}

// isNetwork reports whether a text is a network, which is shown with the bits of its hosts off.
func isNetwork(text string) bool {
	_, err := netip.ParsePrefix(text)
	return err == nil
}
