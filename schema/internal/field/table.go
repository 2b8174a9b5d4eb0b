package field

import (
	"iter"
	"slices"
	"strings"
	"sync"

	"cuelang.org/go/cue"
)

// Field describes one path of the schema, beyond what CUE itself checks.
type Field struct {
	// Want says in words what a value must be.
	Want string
	// Check names a check of package check. It is "" for none.
	Check string
	// Secret is set by @secret.
	Secret bool
	// Kind has a bit for each kind of value that the field takes.
	Kind cue.Kind
	// Children are the names of the fields below, in the order of the schema.
	Children []string
}

// TakesKey reports whether a value may look like a key and not be one that is misplaced.
func (f Field) TakesKey() bool { return f.Check == "key" || f.Check == "id" }

// All returns the fields of the schema by their paths. The elements of a list have the path
// segment [Element].
func All() map[string]Field { return table() }

// secretBelow has the paths of secret fields, and the paths of the structs and lists around them.
var secretBelow = sync.OnceValue(func() map[string]bool {
	paths := map[string]bool{}
	for path, f := range table() {
		for f.Secret && path != "" && !paths[path] {
			paths[path] = true
			path = path[:max(strings.LastIndex(path, "."), 0)]
		}
	}
	return paths
})

// Shows reports whether a scalar at a path may be printed: the schema has the field, and it is
// neither secret nor around a secret.
func Shows(path string) bool {
	_, known := table()[path]
	return known && path != "" && !secretBelow()[path]
}

// names has the names of all fields.
var names = sync.OnceValue(func() map[string]bool {
	all := map[string]bool{}
	for _, f := range table() {
		for _, name := range f.Children {
			all[name] = true
		}
	}
	return all
})

// IsName reports whether a field of the schema has that name.
func IsName(word string) bool { return names()[word] }

// parents has the struct that a field with a name is in, for the names that only one struct has.
var parents = sync.OnceValue(func() map[string]string {
	all := map[string]string{}
	for path, f := range table() {
		if f.Kind != cue.StructKind || strings.Contains(path, Element) {
			continue
		}
		for _, name := range f.Children {
			if _, taken := all[name]; taken {
				all[name] = ""
			} else {
				all[name] = path
			}
		}
	}
	return all
})

// Parent returns the path of the only struct that has a field with that name. It returns "" if no
// struct or several have one, or if the struct is the root.
func Parent(name string) string { return parents()[name] }

// ShowsBelow reports whether a scalar may be printed that was written below a chain of labels in
// a file. The chain may begin anywhere: at the root of a config, at a part of one, or above it as
// in machines.web1.machine.network. Every field of the schema whose path ends with the chain must
// be one that Shows allows.
func ShowsBelow(chain []string) bool {
	found := false
	for path := range ending(chain) {
		if !Shows(path) {
			return false
		}
		found = true
	}
	return found
}

// IsKey reports whether a field at the end of a chain of labels takes a key that is not secret, such
// as a public key.
func IsKey(chain []string) bool {
	for _, f := range ending(chain) {
		if f.TakesKey() && !f.Secret {
			return true
		}
	}
	return false
}

// IsBool reports whether every field at the end of a chain of labels is true or false, and there is
// one.
func IsBool(chain []string) bool {
	found := false
	for _, f := range ending(chain) {
		if f.Kind != cue.BoolKind {
			return false
		}
		found = true
	}
	return found
}

// EndsAtSecret reports whether the path of a secret field ends with a chain of labels. The last
// label may have typing errors.
func EndsAtSecret(chain []string) bool {
	for _, f := range ending(chain) {
		if f.Secret {
			return true
		}
	}
	last := chain[max(len(chain)-1, 0):]
	return len(last) > 0 && !IsName(last[0]) && Nearest(last[0], secretNames()) != ""
}

// secretNames returns the names of the fields with @secret.
var secretNames = sync.OnceValue(func() (list []string) {
	for path, f := range table() {
		if f.Secret {
			list = append(list, path[strings.LastIndex(path, ".")+1:])
		}
	}
	return list
})

// ending returns the fields whose paths end with a chain, without the labels at its beginning
// that are no names of the schema.
func ending(chain []string) iter.Seq2[string, Field] {
	return func(yield func(string, Field) bool) {
		at := slices.IndexFunc(chain, IsName)
		if at < 0 {
			return
		}
		suffix := strings.Join(chain[at:], ".")
		for path, f := range table() {
			if (path == suffix || strings.HasSuffix(path, "."+suffix)) && !yield(path, f) {
				return
			}
		}
	}
}
