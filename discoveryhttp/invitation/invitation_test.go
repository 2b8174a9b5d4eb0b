package invitation_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/spanmesh/span/discoveryhttp/invitation"
)

func TestLineIsReadAsItWasPrinted(t *testing.T) {
	for _, server := range []string{"https://disc.example.com/", "https://[2001:db8::1]:8443/below/", "http://127.0.0.1:3000/"} {
		for _, private := range []bool{false, true} {
			l := invitation.Line{Server: server, Key: invitation.NewKey(), PrivateCA: private}
			l.Cluster = l.Key.Cluster("a")
			for _, text := range []string{l.URL(), l.Command(), " " + l.Command() + "\r\n", `"` + l.URL() + `"`} {
				got, err := invitation.ParseLine(text)
				if err != nil || got != l {
					t.Errorf("%s: %+v, %v", server, got, err)
				}
			}
		}
	}
}

// TestLineThatWasCut cuts a line at each place, and changes each of its characters.
func TestLineThatWasCut(t *testing.T) {
	text := invitation.Line{Server: "https://disc.example.com/", Key: invitation.NewKey()}.URL()
	for at := range text {
		if _, err := invitation.ParseLine(text[:at]); err == nil {
			t.Errorf("a line of %d characters is taken for one of %d", at, len(text))
		}
	}
	begin := strings.Index(text, "#") + 1
	for at := begin; at < len(text); at++ {
		other := byte('A')
		if text[at] == other {
			other = 'B'
		}
		changed := text[:at] + string(other) + text[at+1:]
		if _, err := invitation.ParseLine(changed); err == nil {
			t.Errorf("a line with another character %d is taken", at-begin)
		} else if strings.Contains(err.Error(), text[begin:begin+8]) {
			t.Errorf("the error has the line: %v", err)
		}
	}
}

func TestLineErrors(t *testing.T) {
	good := invitation.Line{Server: "https://disc.example.com/", Key: invitation.NewKey()}.URL()
	_, fragment, _ := strings.Cut(good, "#")
	later, err := base64.RawURLEncoding.DecodeString(fragment)
	if err != nil {
		t.Fatal(err)
	}
	later[0] = 2
	sum := sha256.Sum256(later[:len(later)-4])
	copy(later[len(later)-4:], sum[:])
	for name, c := range map[string]struct{ text, want string }{
		"nothing":       {"", "the line is incomplete"},
		"no fragment":   {"https://disc.example.com/", "the line is incomplete"},
		"no host":       {"#" + fragment, "does not begin with the URL"},
		"another kind":  {"ftp://disc.example.com/#" + fragment, "does not begin with the URL"},
		"credentials":   {"https://a:b@disc.example.com/#" + fragment, "does not begin with the URL"},
		"a later one":   {"https://disc.example.com/#" + base64.RawURLEncoding.EncodeToString(later), "later version of spanctl"},
		"very long":     {"https://" + strings.Repeat("a", 5000) + "/#" + fragment, "want at most 4096"},
		"not in base64": {"https://disc.example.com/#" + fragment[:20] + "!" + fragment[21:], "the line is incomplete"},
	} {
		if _, err := invitation.ParseLine(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

func TestSeal(t *testing.T) {
	k, config := invitation.NewKey(), []byte("cluster: id: \"x\"")
	sealed, err := k.Seal(config)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := k.Open(sealed); err != nil || !bytes.Equal(got, config) {
		t.Errorf("got %q, %v", got, err)
	}
	if bytes.Contains(sealed, config[:8]) {
		t.Error("the sealed config can be read")
	}
	for at := range sealed {
		changed := bytes.Clone(sealed)
		changed[at] ^= 1
		if _, err := k.Open(changed); !errors.Is(err, invitation.ErrSealed) {
			t.Errorf("with byte %d changed: %v", at, err)
		}
	}
	if _, err := invitation.NewKey().Open(sealed); !errors.Is(err, invitation.ErrSealed) {
		t.Errorf("with another key: %v", err)
	}
	if _, err := k.Seal(make([]byte, invitation.MaxConfig+1)); err == nil {
		t.Error("a config that is too long is sealed")
	}
	largest, err := k.Seal(make([]byte, invitation.MaxConfig))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Open(largest); err != nil {
		t.Errorf("the largest config: %v", err)
	}
}

// TestDerivedValuesDiffer looks at what the server gets: none of it is the key, or another's.
func TestDerivedValuesDiffer(t *testing.T) {
	k := invitation.NewKey()
	a, b := [32]byte{1}, [32]byte{2}
	seen := map[string]bool{}
	name, one, two := k.Name(), k.RequestID(a), k.RequestID(b)
	here, there := k.Cluster("x"), k.Cluster("y")
	for _, value := range [][]byte{name[:], one[:], two[:], here[:], there[:], invitation.OwnerToken(a, "x"), invitation.OwnerToken(b, "x"), invitation.OwnerToken(a, "y")} {
		if seen[string(value)] {
			t.Errorf("%x is derived twice", value)
		}
		seen[string(value)] = true
	}
	if k.Name() != name || k.RequestID(a) != one {
		t.Error("it is another one the second time")
	}
}

func TestKeyPrintsHidden(t *testing.T) {
	l := invitation.Line{Server: "https://disc.example.com/", Key: invitation.NewKey()}
	_, fragment, _ := strings.Cut(l.URL(), "#")
	raw, err := base64.RawURLEncoding.DecodeString(fragment)
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q"} {
		text := fmt.Sprintf(verb, l)
		if !strings.Contains(text, "(hidden)") || strings.Contains(text, fmt.Sprintf("%x", raw[2:10])) {
			t.Errorf("%s prints %s", verb, text)
		}
	}
}

// FuzzParseLine reads arbitrary lines. What is read is printed and read the same.
func FuzzParseLine(f *testing.F) {
	f.Add(invitation.Line{Server: "https://disc.example.com/", Key: invitation.NewKey()}.Command())
	f.Add("https://a/#AQ")
	f.Fuzz(func(t *testing.T, text string) {
		l, err := invitation.ParseLine(text)
		if err != nil {
			return
		}
		if again, err := invitation.ParseLine(l.URL()); err != nil || again != l {
			t.Errorf("%+v is read as %+v, %v", l, again, err)
		}
	})
}

// FuzzOpen opens arbitrary contents, none of which was sealed.
func FuzzOpen(f *testing.F) {
	k := invitation.NewKey()
	f.Add([]byte{})
	f.Add(make([]byte, 28))
	f.Fuzz(func(t *testing.T, sealed []byte) {
		if _, err := k.Open(sealed); err == nil {
			t.Errorf("%x was opened", sealed)
		}
	})
}
