package support

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Mode is what a Scrubber replaces beside secrets.
type Mode string

// The modes.
const (
	// Default replaces names of machines, public and unique local addresses, link-local ones, which
	// have MACs in them, public keys, IDs and MACs.
	Default Mode = "default"
	// Strict replaces private addresses, names of links and of users in paths, too.
	Strict Mode = "strict"
	// None replaces secrets only.
	None Mode = "none"
)

// Hidden stands for a secret.
const Hidden = "(hidden)"

// Scrubber rewrites texts. The same text always becomes the same placeholder. It is for one
// goroutine.
type Scrubber struct {
	mode Mode
	// secrets hides the secrets that are known, in all encodings.
	secrets *strings.Replacer
	// known are the names, keys, IDs and links in lower case, with the kind of their placeholders.
	known map[string]string
	// phrases are known names that are more than a word, the longest first.
	phrases []string
	// placeholders are those in use, by kind and text.
	placeholders map[[2]string]string
	counts       map[string]int
}

// NewScrubber returns a Scrubber.
func NewScrubber(mode Mode, f Facts) *Scrubber {
	s := &Scrubber{mode: mode, known: map[string]string{}, placeholders: map[[2]string]string{}, counts: map[string]int{}}
	byLength := func(a, b string) int { return len(b) - len(a) }
	s.secrets = hider(f.Secrets, byLength)
	add := func(kind string, words []string) {
		for _, w := range words {
			if lower := strings.ToLower(w); s.known[lower] == "" && !slices.Contains(f.Words, lower) {
				s.known[lower] = kind
				if kind == "name" && word().FindString(w) != w {
					s.phrases = append(s.phrases, w)
				}
			}
		}
	}
	add("key", f.Keys)
	add("id", f.IDs)
	if mode == Strict {
		add("link", f.Links)
	}
	f.Words = append(slices.Clone(f.Words), lowered(f.Links)...)
	add("name", f.Names)
	slices.SortStableFunc(s.phrases, byLength)
	return s
}

func lowered(words []string) (out []string) {
	for _, w := range words {
		out = append(out, strings.ToLower(w))
	}
	return out
}

// placeholder returns what stands for a text of a kind, such as "name-3".
func (s *Scrubber) placeholder(kind, text string) string {
	key := [2]string{kind, strings.ToLower(text)}
	if kind == "key" || kind == "id" {
		key[1] = text
	}
	if s.placeholders[key] == "" {
		s.counts[kind]++
		s.placeholders[key] = fmt.Sprintf("%s-%d", kind, s.counts[kind])
	}
	return s.placeholders[key]
}

// The forms of secrets that a text has.
var (
	pem = pattern(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)`)
	jwt = pattern(`eyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]+\.?[A-Za-z0-9_-]*`)
	// bootstrap is a token of kubeadm.
	bootstrap = pattern(`\b[a-z0-9]{6}\.[a-z0-9]{16}\b`)
	scheme    = pattern(`(?i)\b(bearer|basic)\s+[A-Za-z0-9+/=._~-]{6,}`)
	named     = pattern(`(?i)((?:pass(?:word|wd|phrase)|secret|token|api[_-]?key|client-key-data|private[_-]?key|preshared[_-]?key|psk|authorization)["']?\s*[:=]\s*["']?)([^\s"',;}\]&{\[(][^\s"',;}\]&]*)`)
	plainWord = pattern(`^(?i:null|true|false|[0-9]+)$`)
	address   = pattern(`[a-zA-Z][a-zA-Z0-9+.-]*://[^\s"'<>\\]+`)
	// opaque is as long as the base64 of a key, or as its hexadecimal digits.
	opaque = pattern(`[A-Za-z0-9+/_-]{40,}={0,2}`)
	word   = pattern(`[\pL\pN_.-]+`)
)

// home is the directory of a user.
var home = pattern(`/home/[^/\s"':]+`)

// Text rewrites a text.
func (s *Scrubber) Text(text string) string {
	text = strings.ReplaceAll(s.secrets.Replace(text), `\u0026`, "&") // of JSON that was cut off
	text = pem().ReplaceAllString(text, Hidden)
	text = jwt().ReplaceAllString(text, Hidden)
	text = address().ReplaceAllStringFunc(text, hideInURL)
	text = bootstrap().ReplaceAllString(text, Hidden)
	text = scheme().ReplaceAllString(text, "$1 "+Hidden)
	text = replaceGroup(named(), text)
	text = opaque().ReplaceAllStringFunc(text, s.hideOpaque)
	if s.mode == None {
		return text
	}
	for _, phrase := range s.phrases {
		text = s.replacePhrase(text, phrase)
	}
	text = mac().ReplaceAllStringFunc(text, s.replaceMAC)
	text = ip().ReplaceAllStringFunc(text, s.replaceAddress)
	if s.mode == Strict {
		text = home().ReplaceAllStringFunc(text, func(m string) string {
			return "/home/" + s.placeholder("user", strings.TrimPrefix(m, "/home/"))
		})
	}
	return word().ReplaceAllStringFunc(text, s.replaceWord)
}

// hider returns what hides secrets, the first form in an order where several begin at one place.
func hider(secrets []string, order func(a, b string) int) *strings.Replacer {
	var forms []string
	for _, secret := range secrets {
		forms = append(forms, encodings(secret)...)
	}
	slices.SortStableFunc(forms, order)
	var pairs []string
	for _, form := range slices.Compact(forms) {
		if len(form) >= minSecret {
			pairs = append(pairs, form, Hidden)
		}
	}
	return strings.NewReplacer(pairs...)
}

// replaceGroup hides the second group of what matches.
func replaceGroup(r *regexp.Regexp, text string) string {
	return r.ReplaceAllStringFunc(text, func(m string) string {
		parts := r.FindStringSubmatch(m)
		if plainWord().MatchString(parts[2]) {
			return m
		}
		return parts[1] + Hidden
	})
}

// hideInURL hides the user, the values of the query, the fragment, and what looks like a token in
// the path of a URL.
func hideInURL(text string) string {
	scheme, rest, _ := strings.Cut(text, "://")
	rest, fragment, hasFragment := strings.Cut(rest, "#")
	rest, query, hasQuery := strings.Cut(rest, "?")
	host, path, hasPath := strings.Cut(rest, "/")
	if at := strings.LastIndex(host, "@"); at >= 0 {
		host = Hidden + host[at:]
	}
	out := scheme + "://" + host
	if hasPath {
		parts := strings.Split(path, "/")
		for i, p := range parts {
			if len(p) >= 16 && strings.ContainsAny(p, "0123456789") {
				parts[i] = Hidden
			}
		}
		out += "/" + strings.Join(parts, "/")
	}
	if hasQuery {
		fields := strings.Split(query, "&")
		for i, f := range fields {
			if name, _, has := strings.Cut(f, "="); has {
				fields[i] = name + "=" + Hidden
			} else {
				fields[i] = Hidden
			}
		}
		out += "?" + strings.Join(fields, "&")
	}
	if hasFragment && fragment != "" {
		out += "#" + Hidden
	}
	return out
}

// hideOpaque hides text that may be a key, unless it is a known public key, ID or name. Words and
// paths are no keys: they have no digits and letters of both cases.
func (s *Scrubber) hideOpaque(text string) string {
	kind := s.known[strings.ToLower(text)]
	if kind != "" && s.mode == None {
		return text
	}
	if kind != "" {
		return s.placeholder(kind, text)
	}
	isHex := strings.Trim(text, "0123456789abcdefABCDEF") == ""
	if isHex || strings.ContainsAny(text, "0123456789") && strings.ToLower(text) != text && strings.ToUpper(text) != text {
		return Hidden
	}
	return text
}

// replaceWord replaces a name, a key, an ID, and the full name of a machine that is known by its
// short one.
func (s *Scrubber) replaceWord(text string) string {
	trimmed := strings.TrimRight(text, ".")
	rest := text[len(trimmed):]
	if kind := s.known[strings.ToLower(trimmed)]; kind != "" {
		return s.placeholder(kind, trimmed) + rest
	}
	if short, _, has := strings.Cut(trimmed, "."); has && s.known[strings.ToLower(short)] == "name" {
		return s.placeholder("name", trimmed) + rest
	}
	return text
}

// JSON rewrites the texts of a document of JSON, and leaves its structure. What is no JSON is
// rewritten as a text.
func (s *Scrubber) JSON(document []byte) []byte {
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	for {
		var value any
		err := decoder.Decode(&value)
		if err == io.EOF {
			return out.Bytes()
		}
		if err != nil {
			return []byte(s.Text(string(document)))
		}
		if err := encoder.Encode(s.value("", value)); err != nil {
			return []byte(s.Text(string(document)))
		}
	}
}

// value rewrites a value of a field.
func (s *Scrubber) value(field string, value any) any {
	switch v := value.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for _, name := range slices.Sorted(maps.Keys(v)) { // the numbers of placeholders do not vary
			out[s.fieldName(name)] = s.value(strings.ToLower(strings.ReplaceAll(name, "_", "")), v[name])
		}
		return out
	case []any:
		for i := range v {
			v[i] = s.value(field, v[i])
		}
		return v
	case string:
		if secretFields[field] && v != "" {
			return Hidden
		}
		return s.Text(v)
	default:
		return v
	}
}

// plainField is the name of a field of ours.
var plainField = pattern(`^[A-Za-z][A-Za-z0-9_]{0,39}$`)

// fieldName rewrites the name of a field, unless it is one of ours.
func (s *Scrubber) fieldName(name string) string {
	if plainField().MatchString(name) && s.secrets.Replace(name) == name {
		return name
	}
	return s.Text(name)
}
