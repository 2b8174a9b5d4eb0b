package files

import (
	"fmt"
	"slices"
	"strings"

	"cuelang.org/go/cue/build"
	cueerrors "cuelang.org/go/cue/errors"

	"github.com/spanmesh/span/schema"
)

// SetTags sets the tags that are given to the CUE files. Messages of CUE do not show long values.
func (s *Set) SetTags(tags []string) {
	s.tags = tags
	for _, tag := range tags {
		_, value, _ := strings.Cut(tag, "=")
		s.others = addText(s.others, value, minOther)
	}
}

// withTags loads a package with those of the tags that it uses. CUE refuses others, but one of several
// sources may use them.
func (s *Set) withTags(load func(tags []string) []*build.Instance) []*build.Instance {
	tags := slices.Clone(s.tags)
	for {
		instances := load(tags)
		at := unusedTag(instances, tags)
		if at < 0 {
			for _, tag := range tags {
				s.usedTags[tag] = true
			}
			return instances
		}
		tags = slices.Delete(tags, at, at+1)
	}
}

// unusedTag returns the index of a tag that an error says is not used, or -1.
func unusedTag(instances []*build.Instance, tags []string) int {
	for _, instance := range instances {
		for _, e := range cueerrors.Errors(instance.Err) {
			format, args := e.Msg()
			if len(args) != 1 || format != "no tag for %q" && format != "tag %q not used in any file" {
				continue
			}
			return slices.IndexFunc(tags, func(tag string) bool {
				name, _, _ := strings.Cut(tag, "=")
				return name == args[0]
			})
		}
	}
	return -1
}

// UnusedTags returns a problem for each tag that no file uses. The value of a tag is not shown.
func (s *Set) UnusedTags() (problems schema.Problems) {
	for _, tag := range s.tags {
		if s.usedTags[tag] {
			continue
		}
		name, _, hasValue := strings.Cut(tag, "=")
		p := schema.Problem{File: "-t " + name, Reason: fmt.Sprintf("no field has the attribute @tag(%s)", name), Want: "the name of a tag in the CUE files"}
		if !hasValue {
			p.Reason = fmt.Sprintf("no file begins with @if(%s), and no field has it among the short forms of its @tag", name)
		}
		problems = append(problems, p)
	}
	return problems
}
