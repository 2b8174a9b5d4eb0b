package support

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

var modes = []Mode{Default, Strict, None}

// key returns a new key in base64.
func key() string {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // it never fails
	return base64.StdEncoding.EncodeToString(raw)
}

// forms returns a secret as somebody may have written it into a file, some inside of other text.
func forms(secret string) map[string]string {
	out := map[string]string{"as it is": secret, "hex": hex.EncodeToString([]byte(secret)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(secret))),
		"query": url.QueryEscape(secret)}
	for shift := range 3 {
		inner := strings.Repeat("u", shift) + secret + ":rest"
		out[fmt.Sprint("base64 at ", shift)] = base64.StdEncoding.EncodeToString([]byte(inner))
		out[fmt.Sprint("base64url at ", shift)] = base64.RawURLEncoding.EncodeToString([]byte(inner))
	}
	if raw, err := base64.StdEncoding.DecodeString(secret); err == nil {
		out["raw"] = string(raw)
		out["hex of raw"] = hex.EncodeToString(raw)
		out["base64url of raw"] = base64.URLEncoding.EncodeToString(raw)
		out["base64 without padding"] = base64.RawStdEncoding.EncodeToString(raw)
	}
	return out
}

// has reports whether a text has a secret in one of the forms, decoded where it is encoded.
func has(text, secret string) string {
	raws := []string{secret}
	if raw, err := base64.StdEncoding.DecodeString(secret); err == nil && len(raw) >= 16 {
		raws = append(raws, string(raw))
	}
	for _, raw := range raws {
		if strings.Contains(text, raw) {
			return "raw"
		}
		if strings.Contains(strings.ToLower(text), hex.EncodeToString([]byte(raw))) {
			return "hex"
		}
		if strings.Contains(text, url.QueryEscape(raw)) {
			return "query"
		}
	}
	// Whatever looks like base64 or hexadecimal digits is decoded.
	for token := range strings.FieldsFuncSeq(text, func(r rune) bool {
		return !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_", r)
	}) {
		token = strings.NewReplacer("-", "+", "_", "/").Replace(token)
		for from := range 4 {
			if from >= len(token) {
				break
			}
			part := token[from:]
			if len(part)%4 == 1 {
				part = part[:len(part)-1]
			}
			decoded, _ := base64.RawStdEncoding.DecodeString(part)
			for _, raw := range raws {
				if bytes.Contains(decoded, []byte(raw)) {
					return "base64"
				}
			}
		}
	}
	return ""
}

// textFile returns a file with a text.
func textFile(name, text string) File {
	return File{Name: name, About: "a test", Read: func(context.Context) ([]byte, error) { return []byte(text), nil }}
}

// unpack makes a bundle of files, and returns the files in it.
func unpack(t *testing.T, mode Mode, facts Facts, files ...File) map[string]string {
	t.Helper()
	bundle := Read(t.Context(), files)
	bundle.Learn(&facts)
	var out bytes.Buffer
	if _, err := bundle.Write(&out, NewScrubber(mode, facts), time.Unix(1_000_000_000, 0)); err != nil {
		t.Fatal(err)
	}
	archive, err := zip.NewReader(bytes.NewReader(out.Bytes()), int64(out.Len()))
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, f := range archive.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		texts[f.Name] = string(text)
	}
	return texts
}

// TestNoSecretIsInABundle plants secrets in everything that can carry them, and looks for them in
// bundles of all modes.
func TestNoSecretIsInABundle(t *testing.T) {
	known := map[string]string{"cluster secret": key(), "private key": key(), "preshared key": key(), "passphrase": "correct horse+battery/staple"}
	unknown := map[string]string{
		"key of another time": key(),
		"token in a path":     "9f8e7d6c5b4a39281706f5",
		"token in a query":    "qpw0e9r8t7y6",
		"password of a user":  "pa55w0rd-of-user",
		"service account":     "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJlLW9mLXRva2Vu",
		"bootstrap token":     "abcdef.0123456789abcdef",
		"key in PEM":          "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49",
		"bearer":              "plain-bearer-4711",
		"hex key":             hex.EncodeToString([]byte(key()))[:64],
	}
	var planted strings.Builder
	for _, secret := range known {
		for form, text := range forms(secret) {
			fmt.Fprintf(&planted, "msg %q: %s\n<%s>,\"%s\";x%sx\n", form, text, text, text, text)
		}
	}
	fmt.Fprintf(&planted, "was %s (db1)\nGET https://disc.example.com/t/%s/v1?token=%s&x=1#%s: refused\nhttps://user:%s@disc.example.com/\n",
		unknown["key of another time"], unknown["token in a path"], unknown["token in a query"], unknown["token in a query"], unknown["password of a user"])
	fmt.Fprintf(&planted, "token: %s\n%s\n join %s\n-----BEGIN EC PRIVATE KEY-----\n%s\n-----END EC PRIVATE KEY-----\nAuthorization: Bearer %s\npsk=%s\n",
		unknown["service account"], unknown["service account"], unknown["bootstrap token"], unknown["key in PEM"], unknown["bearer"], unknown["hex key"])
	inJSON, err := json.Marshal(map[string]any{"message": planted.String(), "list": []string{planted.String()}, planted.String(): 1,
		"deep": map[string]any{"spec": map[string]any{"cause": planted.String()}}, "metadata": map[string]any{"type": "Members", "id": planted.String()}})
	if err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(map[string]any{"metadata": map[string]any{"type": "MachineConfigs"}, "spec": map[string]any{
		"cluster": map[string]any{"secret": known["cluster secret"], "id": key()},
		"static":  map[string]any{"peers": []any{map[string]any{"publicKey": key(), "presharedKey": known["preshared key"]}, map[string]any{"presharedKey": known["passphrase"]}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	facts := Facts{}
	facts.Learn(config) // as the agent reveals it
	facts.Learn([]byte(`{"spec":{"privateKey":"` + known["private key"] + `"}}`))
	failing := File{Name: "failed.txt", About: "fails", Read: func(context.Context) ([]byte, error) {
		return []byte(planted.String()), errors.New(planted.String())
	}}
	for _, mode := range modes {
		texts := unpack(t, mode, facts, textFile("log.jsonl", string(inJSON)+"\n"+string(inJSON)), textFile("a.json", string(inJSON)),
			textFile("b.txt", planted.String()), textFile("broken.json", string(inJSON)[:len(inJSON)-9]), textFile("config.json", string(config)), failing)
		if len(texts) != 7 {
			t.Fatalf("there are %d files", len(texts))
		}
		for name, text := range texts {
			for _, secrets := range []map[string]string{known, unknown} {
				for what, secret := range secrets {
					if form := has(text, secret); form != "" {
						t.Errorf("%s: %s has the %s, %s", mode, name, what, form)
					}
				}
			}
			if name != "README.txt" && !strings.Contains(text, Hidden) {
				t.Errorf("%s: %s does not say that something is hidden", mode, name)
			}
		}
		for _, name := range []string{"a.json", "config.json"} {
			if !json.Valid([]byte(texts[name])) {
				t.Errorf("%s: %s is no JSON", mode, name)
			}
		}
	}
}

// TestPlantedSecretsAreFound wants the search of the test above to find what was planted.
func TestPlantedSecretsAreFound(t *testing.T) {
	for range 20 {
		secret := key()
		for form, text := range forms(secret) {
			if has("msg: "+text+", more", secret) == "" {
				t.Errorf("%s is not found as %s", secret, form)
			}
		}
	}
}

const mesh = `{"kind":"List","items":[
 {"metadata":{"type":"KubeSpanPeerStatuses","id":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA0="},"spec":{"label":"db1","state":"up","endpoint":"203.0.113.9:51820"}},
 {"metadata":{"type":"Affiliates","id":"7x1SuC8Ege5BGXdAfTEff5iQnlWZLfv9h1LGMxA2pYkC"},"spec":{"nodeId":"7x1SuC8Ege5BGXdAfTEff5iQnlWZLfv9h1LGMxA2pYkC","hostname":"Web1.example.com","nodename":"Bob's phone"}},
 {"metadata":{"type":"Members","id":"web1"},"spec":{"addresses":["10.0.4.9","fd89:33b8:12::8c41","fe80::dcad:beff:feef:1"],"owner":"local"}}]}`

const lines = `{"time":"2026-11-28T17:22:56.932Z","msg":"peer up","peer":"gone7","endpoint":"[2001:db8::7]:51820","version":"1.21.1"}`

const routes = `fd89:33b8:12::8c41 dev kubespan table 180
10.0.4.0/24 via 203.0.113.9 dev office0 proto static
link/ether de:ad:be:ef:00:01 brd ff:ff:ff:ff:ff:ff promiscuity 0
127.0.0.1 ::1 ::/0 0.0.0.0/0 ff02::1 100.64.1.2 169.254.0.8
peer AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA0= (db1), web1.example.com. gone7 and db10, the state local is up
/home/alice/machine.cue 7x1SuC8Ege5BGXdAfTEff5iQnlWZLfv9h1LGMxA2pYkC
`

func TestPlaceholders(t *testing.T) {
	facts := Facts{Names: []string{"web1"}, Links: []string{"office0"}, Words: []string{"local"}}
	files := []File{textFile("peers.json", mesh), textFile("log.jsonl", lines+"\n"+lines), textFile("routes.txt", routes)}
	private := []string{"AAAAAAAAAA0=", "db1\"", "(db1)", "203.0.113.9", "7x1SuC8Ege5BGX", "eb1", "Bob's", "fd89:33b8:12::8c41", "dcad", "gone7", "2001:db8::7", "de:ad:be"}
	strictly := []string{"10.0.4.", "100.64.1.2", "169.254", "office0", "alice"}
	for _, mode := range modes {
		texts := unpack(t, mode, facts, files...)
		all := texts["peers.json"] + texts["log.jsonl"] + texts["routes.txt"]
		for _, text := range private {
			if strings.Contains(all, text) != (mode == None) {
				t.Errorf("%s: %q is in it: %t\n%s", mode, text, mode == None, all)
			}
		}
		for _, text := range strictly {
			if strings.Contains(all, text) != (mode != Strict) {
				t.Errorf("%s: %q is in it: %t\n%s", mode, text, mode != Strict, all)
			}
		}
		for _, text := range []string{"127.0.0.1 ::1 ::/0 0.0.0.0/0 ff02::1", "db10", "the state local is up", "2026-11-28T17:22:56.932Z", "1.21.1", "dev kubespan table 180", `"up"`} {
			if !strings.Contains(all, text) {
				t.Errorf("%s: %q is not in it:\n%s", mode, text, all)
			}
		}
	}
}

// TestTheSameTextHasTheSamePlaceholder compares the placeholders of a peer in several files.
func TestTheSameTextHasTheSamePlaceholder(t *testing.T) {
	facts := Facts{Words: []string{"local"}}
	texts := unpack(t, Default, facts, textFile("peers.json", mesh), textFile("log.jsonl", lines), textFile("routes.txt", routes))
	again := unpack(t, Default, facts, textFile("peers.json", mesh), textFile("log.jsonl", lines), textFile("routes.txt", routes))
	var list struct {
		Items []struct {
			Metadata struct{ ID string }
			Spec     struct {
				Label, Endpoint string
				Addresses       []string
			}
		}
	}
	if err := json.Unmarshal([]byte(texts["peers.json"]), &list); err != nil {
		t.Fatal(err)
	}
	peer, member := list.Items[0], list.Items[2]
	address, _, _ := strings.Cut(peer.Spec.Endpoint, ":")
	for _, want := range []string{
		"peer " + peer.Metadata.ID + " (" + peer.Spec.Label + ")",
		"via " + address + " dev",
		member.Spec.Addresses[1] + " dev kubespan",
	} {
		if !strings.Contains(texts["routes.txt"], want) {
			t.Errorf("no %q in\n%s", want, texts["routes.txt"])
		}
	}
	for name, text := range texts {
		if again[name] != text {
			t.Errorf("%s is another the second time:\n%s\n%s", name, text, again[name])
		}
	}
}

// TestHostsMayBeCalledAnything gives machines the names of fields and values.
func TestHostsMayBeCalledAnything(t *testing.T) {
	document := `{"metadata":{"type":"Members","id":"state"},"spec":{"hostname":"up","state":"up","label":"metadata"}}`
	text := unpack(t, Default, Facts{}, textFile("a.json", document))["a.json"]
	var read struct {
		Metadata struct{ Type string }
		Spec     struct{ Hostname, State string }
	}
	if err := json.Unmarshal([]byte(text), &read); err != nil || read.Metadata.Type != "Members" || !strings.HasPrefix(read.Spec.Hostname, "name-") {
		t.Errorf("%v:\n%s", err, text)
	}
}

// TestBundlesAreBounded reads a file that never ends, one that is too long, and too many.
func TestBundlesAreBounded(t *testing.T) {
	long := strings.Repeat("0123456789abcde\n", (maxFile+1<<20)/16)
	never := File{Name: "never.txt", About: "hangs", Read: func(ctx context.Context) ([]byte, error) {
		<-make(chan struct{})
		return nil, nil
	}}
	files := []File{never}
	for i := range 6 {
		files = append(files, textFile(fmt.Sprintf("long%d.txt", i), long))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // what hangs is given up at once
	bundle := Read(ctx, files[:1])
	if bundle.errors[0] == nil {
		t.Error("a file that never ends was read")
	}
	bundle = Read(t.Context(), files[1:])
	total := 0
	for _, text := range bundle.texts {
		if len(text) > maxFile {
			t.Errorf("a file has %d bytes", len(text))
		}
		total += len(text)
	}
	if total > maxBundle || !strings.Contains(fmt.Sprint(bundle.errors), "left out") || !strings.Contains(fmt.Sprint(bundle.errors), "cut off") {
		t.Errorf("%d bytes are kept: %v", total, bundle.errors)
	}
}

func TestREADMEExplainsEveryFile(t *testing.T) {
	broken := File{Name: "b.txt", About: "breaks", Read: func(context.Context) ([]byte, error) { return nil, errors.New("no such program") }}
	for _, mode := range modes {
		readme := unpack(t, mode, Facts{}, textFile("a.txt", "text"), broken)["README.txt"]
		for _, want := range []string{"a.txt\n    a test\n", "b.txt\n    breaks\n    NOT COMPLETE: no such program\n", "Mode " + string(mode) + ": "} {
			if !strings.Contains(readme, want) {
				t.Errorf("%s: no %q in\n%s", mode, want, readme)
			}
		}
	}
}

// FuzzScrub wants a known secret never to be in a text that is rewritten, whatever is around it.
func FuzzScrub(f *testing.F) {
	f.Add("", "", uint8(0))
	f.Add("https://", "@x", uint8(1))
	f.Add("token=", "&", uint8(2))
	f.Add("fd00::", "/64", uint8(0))
	secret := key()
	var all []string
	for _, form := range forms(secret) {
		all = append(all, form)
	}
	slices.Sort(all)
	f.Fuzz(func(t *testing.T, before, after string, form uint8) {
		s := NewScrubber(modes[int(form)%len(modes)], Facts{Secrets: []string{secret}, Names: []string{"db1"}})
		text := s.Text(before + all[int(form)%len(all)] + after)
		if strings.Contains(text, secret) || strings.Contains(strings.ToLower(text), hex.EncodeToString([]byte(secret))) {
			t.Errorf("%q has the secret", text)
		}
	})
}

// BenchmarkScrub rewrites the resources of a mesh of 1,000 machines with 100 preshared keys.
func BenchmarkScrub(b *testing.B) {
	facts := Facts{}
	for range 100 {
		facts.Secrets = append(facts.Secrets, key())
	}
	var document bytes.Buffer
	document.WriteString("[")
	for i := range 1000 {
		if i > 0 {
			document.WriteString(",")
		}
		fmt.Fprintf(&document, `{"metadata":{"type":"KubeSpanPeerStatuses","id":%q},"spec":{"label":"node-%d","endpoint":"203.0.113.9:51820","allowedIPs":["fd89::%x/128","10.0.%d.%d/32"]}}`,
			key(), i, i, i/256, i%256)
	}
	document.WriteString("]")
	facts.Learn(document.Bytes())
	b.SetBytes(int64(document.Len()))
	for b.Loop() {
		NewScrubber(Default, facts).JSON(document.Bytes())
	}
}
