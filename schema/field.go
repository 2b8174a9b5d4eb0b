package schema

import (
	"crypto/x509"
	stderrors "errors"
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/errors"
	"cuelang.org/go/cue/token"
)

// field is what the schema says of one path beyond what CUE checks itself. All of
// them are in fields.go, so that a config is read without evaluating the schema for it.
type field struct {
	want     string
	check    string
	secret   bool
	kind     cue.Kind
	children []string
}

// element is the path segment that stands for every index of a list.
const element = "[]"

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// schemaPath is the path of a value with every list index made general.
func schemaPath(path []string) string {
	general := make([]string, len(path))
	for i, part := range path {
		general[i] = part
		if _, err := strconv.Atoi(part); err == nil {
			general[i] = element
		}
	}
	return strings.Join(general, ".")
}

// dotted writes a path as CUE does: a.b[0].
func dotted(path []string) string {
	var b strings.Builder
	for i, part := range path {
		switch _, err := strconv.Atoi(part); {
		case err == nil:
			b.WriteString("[" + part + "]")
		case i > 0:
			b.WriteString("." + part)
		default:
			b.WriteString(part)
		}
	}
	return b.String()
}

func selectors(path []string) cue.Path {
	out := make([]cue.Selector, len(path))
	for i, part := range path {
		if index, err := strconv.Atoi(part); err == nil && index >= 0 {
			out[i] = cue.Index(index)
		} else {
			out[i] = cue.Str(part)
		}
	}
	return cue.MakePath(out...)
}

// plainPath is a path of plain field names, dotted, which need no parser.
func plainPath(path string) cue.Path { return selectors(strings.Split(path, ".")) }

// maxShown is how much of a value a message quotes, in bytes.
const maxShown = 60

// show renders a scalar as the user wrote it, or nothing for what would be
// secret, long or not a scalar.
func (f field) show(v cue.Value) string {
	if f.secret && v.Exists() {
		return hidden
	}
	switch v.Kind() {
	case cue.StringKind, cue.NumberKind, cue.IntKind, cue.FloatKind, cue.BoolKind:
		text := fmt.Sprint(v)
		if len(text) > maxShown {
			text = strings.ToValidUTF8(text[:maxShown], "") + "…"
		}
		return text
	default:
		return ""
	}
}

// fault says in words why CUE refused a value of this field.
func (f field) fault(v cue.Value, e errors.Error) string {
	got := v.Kind()
	switch {
	case !v.Exists():
		return scrub(messageOf(e))
	case got == cue.BottomKind && v.IncompleteKind() != cue.BottomKind:
		return "has no concrete value"
	case got == cue.BottomKind:
		return scrub(messageOf(e))
	case got&f.kind == 0:
		return fmt.Sprintf("is %s where %s belongs", article(got), article(f.kind))
	case f.check != "" && got == cue.StringKind:
		if err := f.verify(v); err != nil {
			return err.Error()
		}
	}
	if got&cue.NumberKind != 0 {
		return "is out of range"
	}
	return "does not fit"
}

// kindName has several kinds as people say them; CUE has them in parentheses, with bars.
func kindName(kind cue.Kind) string {
	return strings.ReplaceAll(strings.Trim(kind.String(), "()"), "|", " or ")
}

func article(kind cue.Kind) string {
	name := kindName(kind)
	if strings.ContainsRune("aeiou", rune(name[0])) {
		return "an " + name
	}
	return "a " + name
}

// checkBit is the check of numbers: that a single bit is set.
const checkBit = "bit"

// checks are the finer checks that @check names.
var checks = map[string]func(string) error{
	"key": checkKey,
	"cidr": func(text string) error {
		_, err := netip.ParsePrefix(text)
		return notA("a network in CIDR notation", err)
	},
	"filter": func(text string) error {
		return notA("a network in CIDR notation", new(Filter).UnmarshalText([]byte(text)))
	},
	"address":  checkAddress,
	"endpoint": checkEndpoint,
	"url":      checkURL,
	"pem":      checkPEM,
	"path":     checkPath,
	"node":     checkNode,
}

func notA(what string, err error) error {
	if err != nil {
		return fmt.Errorf("is not %s", what)
	}
	return nil
}

func checkKey(text string) error {
	_, err := decodeKey(text)
	return err
}

func checkAddress(text string) error {
	prefix, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return notA("an address with a prefix length", err)
	case !prefix.Addr().IsGlobalUnicast():
		return stderrors.New("is no address that other machines can reach this one at")
	case prefix.Addr() == prefix.Masked().Addr() && !prefix.IsSingleIP():
		return stderrors.New("is a network, without the address that this machine has in it")
	}
	return nil
}

func checkEndpoint(text string) error {
	endpoint, err := netip.ParseAddrPort(text)
	switch {
	case err != nil:
		return notA("an address with a port", err)
	case endpoint.Port() == 0:
		return fmt.Errorf("has port 0")
	case endpoint.Addr().Zone() != "":
		return fmt.Errorf("has a zone, which means nothing to other machines")
	}
	return nil
}

// checkPath takes nothing for a path, too.
func checkPath(text string) error {
	if text != "" && !filepath.IsAbs(text) {
		return stderrors.New("is not an absolute path")
	}
	return nil
}

// nodeNames are DNS subdomains (RFC 1123), as Kubernetes has them for names.
var nodeNames = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)
})

const maxNodeName = 253

// checkNode takes nothing for the name of a Node, too.
func checkNode(text string) error {
	if text != "" && (len(text) > maxNodeName || !nodeNames().MatchString(text)) {
		return stderrors.New("is not the name of a Node")
	}
	return nil
}

func checkPEM(text string) error {
	if !x509.NewCertPool().AppendCertsFromPEM([]byte(text)) {
		return stderrors.New("has no certificate in PEM")
	}
	return nil
}

func checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		return fmt.Errorf("is not a URL with a host")
	case u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("has the scheme %q, not https or http", u.Scheme)
	case u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("has a query or a fragment, which a discovery service does not take")
	}
	return nil
}

func (f field) verify(v cue.Value) error {
	if f.check == checkBit {
		if n, err := v.Int64(); err == nil && n&(n-1) != 0 {
			return stderrors.New("is not a single bit")
		}
		return nil
	}
	check := checks[f.check]
	text, err := v.String()
	if check == nil || err != nil {
		return nil // not a string: CUE has said so already
	}
	return check(text)
}

// checkValues looks at every value that the user wrote: whether the schema has
// such a field, whether the kind fits and what the finer checks say.
func (s *source) checkValues() Problems {
	var problems Problems
	add := func(path []string, v cue.Value, p Problem) {
		p.File, p.Path = s.name, dotted(path)
		s.at(&p, s.position(v, errors.Newf(token.NoPos, "")))
		problems = append(problems, p)
	}
	var walk func(path []string, v cue.Value)
	walk = func(path []string, v cue.Value) {
		f, known := fields()[schemaPath(path)]
		if !known {
			add(path, v, s.unknown(path, v))
			return
		}
		v, _ = v.Default()
		if kind := v.Kind(); kind != cue.BottomKind && kind&f.kind == 0 {
			add(path, v, Problem{Value: f.show(v), Want: f.want, Reason: f.fault(v, errors.Newf(token.NoPos, ""))})
			return
		}
		switch v.Kind() {
		case cue.StructKind:
			for it, err := v.Fields(); err == nil && it.Next(); {
				walk(append(slices.Clip(path), it.Selector().Unquoted()), it.Value())
			}
		case cue.ListKind:
			items, err := v.List()
			for i := 0; err == nil && items.Next(); i++ {
				walk(append(slices.Clip(path), strconv.Itoa(i)), items.Value())
			}
		default:
			if err := f.verify(v); err != nil {
				add(path, v, Problem{Value: f.show(v), Reason: err.Error(), Want: f.want})
			}
		}
	}
	walk(nil, s.user)
	return problems
}

// unknown explains a field that the schema does not have.
func (s *source) unknown(path []string, v cue.Value) Problem {
	name := path[len(path)-1]
	siblings := fields()[schemaPath(path[:len(path)-1])].children
	p := Problem{Reason: "unknown field", Want: "one of " + quoteAll(siblings)}
	if one, found := holder(v); found && len(path) == 1 && !s.picked {
		return s.unchosen([]string{name, one})
	}
	if len(path) == 1 && !s.picked && isConfig(v) {
		return s.unchosen(path)
	}
	if near := nearest(name, siblings); near != "" {
		p.Reason += fmt.Sprintf(", did you mean %q?", near)
	} else if parent := parentOf(name); parent != "" {
		p.Reason += fmt.Sprintf(", does it belong under %q?", parent)
	}
	return p
}

// holdsConfigs tells whether a path leads into one of several machine configs, of
// which none was picked.
func (s *source) holdsConfigs(path []string) bool {
	if s.picked || len(path) < 3 {
		return false
	}
	_, known := fields()[path[0]]
	return !known && slices.Contains(fields()[""].children, path[2])
}

// unchosen explains that a config is to be picked, such as the one at path.
func (s *source) unchosen(path []string) Problem {
	p := Problem{File: s.name, Path: path[0], Reason: "unknown field, which is a machine config of its own",
		Want: "one config, picked with `-e '" + cue.MakePath(cue.Str(path[0])).String() + "'`"}
	if len(path) > 1 {
		p.Reason = "unknown field, which holds machine configs"
		p.Want = "one of them, picked with -e, such as `-e '" + cue.MakePath(cue.Str(path[0]), cue.Str(path[1])).String() + "'`"
	}
	return p
}

// holder tells whether a value holds machine configs by their names, and the first
// of these.
func holder(v cue.Value) (name string, found bool) {
	it, err := v.Fields()
	if err != nil || !it.Next() {
		return "", false
	}
	return it.Selector().Unquoted(), isConfig(it.Value())
}

// isConfig tells a value that has the sections of a machine config.
func isConfig(v cue.Value) bool {
	for _, section := range []string{"machine", "cluster"} {
		if v.LookupPath(cue.ParsePath(section)).IncompleteKind()&cue.StructKind != 0 {
			return true
		}
	}
	return false
}

// nearest is the name that a typing error away from would give word, or "".
func nearest(word string, names []string) string {
	best, bestDistance := "", 3
	for _, name := range names {
		if d := distance(strings.ToLower(word), strings.ToLower(name)); d < bestDistance && d < len(name) {
			best, bestDistance = name, d
		}
	}
	return best
}

// distance is Levenshtein's edit distance.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next := min(row[j]+1, row[j+1]+1, diagonal+cost)
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}
