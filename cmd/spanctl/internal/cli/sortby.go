package cli

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/theory/jsonpath"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/reconciler/resource"
)

// sorter sorts resources by what they have at a path; by nothing if it is nil.
type sorter struct {
	text string
	path *jsonpath.Path
	// known is set for the path of a field that the resources may have.
	known bool
}

// metadataFields are the fields of the metadata that resources can be sorted by.
var metadataFields = []string{"id", "version", "created", "updated"}

// sortFields returns the fields that the resources of a type can be sorted by.
func sortFields(t *resource.Type) []string {
	names := slices.Clone(metadataFields)
	for _, f := range t.Fields() {
		names = append(names, f.Name)
	}
	return names
}

// completeFields completes the field to sort by.
func completeFields(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	t, err := resource.Lookup(args[0])
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return sortFields(t), cobra.ShellCompDirectiveNoFileComp
}

// parseSort reads the value of --sort-by for resources of a type: a field, with or without "spec."
// or "metadata.", a heading of the table, or a JSONPath, also in kubectl's braces.
func parseSort(text, typeName string) (*sorter, error) {
	if text == "" {
		return nil, nil
	}
	t, err := resource.Lookup(typeName)
	if err != nil {
		return nil, err
	}
	path := strings.TrimSuffix(strings.TrimPrefix(text, "{"), "}")
	word := strings.TrimPrefix(strings.TrimPrefix(path, "$"), ".")
	word = strings.TrimPrefix(strings.TrimPrefix(word, "spec."), "metadata.")
	if !strings.ContainsAny(word, ".[$@") {
		fields := sortFields(t)
		at := slices.IndexFunc(fields, func(f string) bool { return resource.Fold(f) == resource.Fold(word) })
		shown := t.FieldOf(word)
		if at < 0 && shown == "" {
			return nil, fmt.Errorf("--sort-by is %q: %s have no such field, but %s", text, t.Aliases[0], strings.Join(fields, ", "))
		}
		switch {
		case at < 0:
			path = ".spec." + shown
		case at < len(metadataFields):
			path = ".metadata." + fields[at]
		default:
			path = ".spec." + fields[at]
		}
	}
	parsed, err := parsePath(path)
	if err != nil {
		return nil, fmt.Errorf("--sort-by: %w", err)
	}
	return &sorter{text: text, path: parsed, known: !strings.ContainsAny(word, ".[$@")}, nil
}

// sort sorts resources. Those without a value come last.
func (s *sorter) sort(resources []*agentpb.Resource) error {
	if s == nil || len(resources) == 0 {
		return nil
	}
	keys := make(map[*agentpb.Resource]any, len(resources))
	for _, r := range resources {
		d, err := documentOf(r, "")
		if err != nil {
			return err
		}
		generic, err := genericJSON(d)
		if err != nil {
			return err
		}
		for value := range s.path.Select(generic).All() {
			keys[r] = value
			break
		}
	}
	if len(keys) == 0 && !s.known {
		return fmt.Errorf("--sort-by is %q: no resource has a value there", s.text)
	}
	slices.SortStableFunc(resources, func(a, b *agentpb.Resource) int { return compareValues(keys[a], keys[b]) })
	return nil
}

// compareValues compares values of JSON: numbers, durations, times and addresses as such, all else
// as text. Nothing is more than anything.
func compareValues(a, b any) int {
	if a == nil || b == nil {
		return cmp.Compare(count01(a == nil), count01(b == nil))
	}
	x, isNumber := a.(float64)
	y, areNumbers := b.(float64)
	if isNumber && areNumbers {
		return cmp.Compare(x, y)
	}
	s, t := fmt.Sprint(a), fmt.Sprint(b)
	if c, ok := compareAs(s, t, time.ParseDuration, cmp.Compare); ok {
		return c
	}
	if c, ok := compareAs(s, t, func(text string) (time.Time, error) { return time.Parse(time.RFC3339, text) }, time.Time.Compare); ok {
		return c
	}
	if c, ok := compareAs(s, t, netip.ParseAddrPort, netip.AddrPort.Compare); ok {
		return c
	}
	if c, ok := compareAs(s, t, netip.ParseAddr, netip.Addr.Compare); ok {
		return c
	}
	return cmp.Compare(s, t)
}

func count01(b bool) int {
	if b {
		return 1
	}
	return 0
}

// compareAs compares two texts that can both be parsed.
func compareAs[T any](a, b string, parse func(string) (T, error), compare func(T, T) int) (int, bool) {
	x, err := parse(a)
	if err != nil {
		return 0, false
	}
	y, err := parse(b)
	if err != nil {
		return 0, false
	}
	return compare(x, y), true
}
