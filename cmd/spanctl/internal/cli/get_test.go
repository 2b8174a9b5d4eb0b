package cli

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
)

// peersFrom makes resources of the specs of peers, which is what an agent answers.
func peersFrom(t *testing.T, specs ...string) (peers []*agentpb.Resource) {
	t.Helper()
	for i, text := range specs {
		spec := &structpb.Struct{}
		if err := spec.UnmarshalJSON([]byte(text)); err != nil {
			t.Fatal(err)
		}
		id := "key" + string(rune('A'+i)) + "="
		label := spec.GetFields()["label"].GetStringValue()
		peers = append(peers, &agentpb.Resource{Metadata: &agentpb.Metadata{Type: "KubeSpanPeerStatuses", Id: id, Version: 3}, Spec: spec,
			Row: []string{id, "3", label, "1.2GiB", "41s"}, Name: label})
	}
	return peers
}

const (
	db1  = `{"label":"db1","state":"up","receiveBytes":1288490189,"rtt":"11.2ms","endpoint":"203.0.113.9:51820"}`
	db2  = `{"label":"db2","state":"down","receiveBytes":9,"rtt":"900µs","endpoint":"203.0.113.10:51820"}`
	none = `{"state":"unknown","receiveBytes":100}`
)

// get prints peers as `spanctl get` does.
func get(t *testing.T, output string, one bool, peers []*agentpb.Resource) string {
	t.Helper()
	f, err := parseFormat(output)
	if err != nil {
		t.Fatal(err)
	}
	return printed(t, func(s streams) error {
		p := (&agentSession{streams: s}).printer(f, false)
		p.head(&agentpb.Table{Headings: []string{"ID", "VERSION", "LABEL", "RX", "HANDSHAKE"}, Wide: []uint32{4}})
		return p.list(peers, one)
	})
}

// TestJSONIsOneDocument reads what is printed of none, one and several as one document of JSON.
func TestJSONIsOneDocument(t *testing.T) {
	peers := peersFrom(t, db1, db2, none)
	for n := range len(peers) + 1 {
		var list struct {
			APIVersion, Kind string
			Items            []struct {
				APIVersion, Kind string
				Metadata         struct{ ID, Type string }
				Spec             struct{ ReceiveBytes int64 }
			}
		}
		text := get(t, outputJSON, false, peers[:n])
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			t.Fatalf("%d: %v:\n%s", n, err, text)
		}
		if list.APIVersion != "spanctl/v1" || list.Kind != "List" || len(list.Items) != n || list.Items == nil {
			t.Errorf("%d resources are %+v", n, list)
		}
		if n > 0 && (list.Items[0].Spec.ReceiveBytes != 1288490189 || list.Items[0].Metadata.ID != "keyA=" || list.Items[0].Kind != "KubeSpanPeerStatuses") {
			t.Errorf("the first is %+v", list.Items[0])
		}
	}
	var one struct{ Spec struct{ Label string } }
	if err := json.Unmarshal([]byte(get(t, outputJSON, true, peers[:1])), &one); err != nil || one.Spec.Label != "db1" {
		t.Errorf("one that was named is %+v, %v", one, err)
	}
}

// TestWatchedJSONIsALineEach reads each line of what is printed of changes as a document.
func TestWatchedJSONIsALineEach(t *testing.T) {
	peers := peersFrom(t, `{"label":"a\nb <c>"}`, db2)
	text := printed(t, func(s streams) error {
		p := (&agentSession{streams: s}).printer(format{name: outputJSON}, true)
		return p.events([]*agentpb.Event{{Resource: peers[0]}, {Resource: peers[1], Deleted: true}})
	})
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines:\n%s", len(lines), text)
	}
	for i, want := range []string{"a\nb <c>", "db2"} {
		var change struct {
			Resource struct{ Spec struct{ Label string } }
			Deleted  bool
		}
		if err := json.Unmarshal([]byte(lines[i]), &change); err != nil || change.Resource.Spec.Label != want || change.Deleted != (i == 1) {
			t.Errorf("line %d is %+v, %v", i, change, err)
		}
	}
}

func TestTablesLeaveOutWideColumns(t *testing.T) {
	peers := peersFrom(t, db1)
	for output, want := range map[string]string{
		outputTable: "ID VERSION LABEL RX\nkeyA= 3 db1 1.2GiB",
		outputWide:  "ID VERSION LABEL RX HANDSHAKE\nkeyA= 3 db1 1.2GiB 41s",
		outputName:  "db1",
	} {
		lines := strings.Split(strings.TrimSpace(get(t, output, false, peers)), "\n")
		for i := range lines {
			lines[i] = strings.Join(strings.Fields(lines[i]), " ")
		}
		if got := strings.Join(lines, "\n"); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", output, got, want)
		}
	}
	if got := get(t, outputName, false, peersFrom(t, none)); got != "keyA=\n" {
		t.Errorf("one without a name is %q", got)
	}
}

func TestJSONPaths(t *testing.T) {
	peers := peersFrom(t, db1, db2, none)
	for path, want := range map[string]string{
		"$.items[*].spec.label":                      "db1\ndb2\n",
		".items[0].spec.receiveBytes":                "1288490189\n",
		"items[1].spec.state":                        "down\n",
		`$.items[?@.spec.state != "up"].metadata.id`: "keyB=\nkeyC=\n",
		`$.items[?@.spec.label == "{"].metadata.id`:  "",
		"$..state":                                           "up\ndown\nunknown\n",
		"$.items[0].spec.endpoint":                           "203.0.113.9:51820\n",
		"{.items[*].spec.label}":                             "db1 db2",
		"{$.items[*].spec.label}":                            "db1 db2",
		`{@.items[0].spec.label}{"\t"}{..version}{"\n"}`:     "db1\t3 3 3\n",
		`peers: {.items[?(@.spec.state=="up")].spec.label}!`: "peers: db1!",
		`{.items[?@.spec.label=="}"].spec.label}none`:        "none",
		"{.items[0].spec.nothing}":                           "",
		"$.items[0].metadata":                                `{"id":"keyA=","type":"KubeSpanPeerStatuses","version":3}` + "\n",
	} {
		if got := get(t, "jsonpath="+path, false, peers); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	if got := get(t, "jsonpath={.spec.state}", true, peers[:1]); got != "up" {
		t.Errorf("one that was named: %q", got)
	}
	for path, want := range map[string]string{
		"{.items[*]":              "without a }",
		"{range .items[*]}{end}":  "{range} is not taken",
		`{"x}`:                    "without a }",
		"$.items[":                "RFC 9535",
		"{.items[*].spec.a\\.b}":  "RFC 9535",
		"{.items[?(.spec=='a')]}": "RFC 9535",
	} {
		if _, err := parseFormat("jsonpath=" + path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
}

func TestSorting(t *testing.T) {
	for by, want := range map[string]string{
		"receiveBytes":           "db2  db1",
		"RTT":                    "db2 db1 ",
		"spec.rtt":               "db2 db1 ",
		"{.spec.rtt}":            "db2 db1 ",
		"endpoint":               "db1 db2 ",
		"label":                  "db1 db2 ",
		"metadata.id":            "db1 db2 ",
		"$.spec['receiveBytes']": "db2  db1",
		"relay":                  "db1 db2 ",
		"":                       "db1 db2 ",
	} {
		peers := peersFrom(t, db1, db2, none)
		s, err := parseSort(by, "peers")
		if err == nil {
			err = s.sort(peers)
		}
		var labels []string
		for _, p := range peers {
			labels = append(labels, p.GetName())
		}
		if got := strings.Join(labels, " "); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", by, got, err, want)
		}
	}
	if _, err := parseSort("sate", "peers"); err == nil || !strings.Contains(err.Error(), "state") {
		t.Errorf("a field that peers have not: %v", err)
	}
	s, err := parseSort("$.spec['sate']", "peers")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.sort(peersFrom(t, db1)); err == nil || !strings.Contains(err.Error(), "no resource has a value there") {
		t.Errorf("a path that finds nothing: %v", err)
	}
}

func TestDumpIsThatOfWG(t *testing.T) {
	config := map[string]any{
		"machine": map[string]any{"network": map[string]any{"kubespan": map[string]any{"listenPort": 51820.0, "fwmark": 32.0, "persistentKeepalive": 25.0}}},
		"cluster": map[string]any{"discovery": map[string]any{"registries": map[string]any{"static": map[string]any{
			"peers": []any{map[string]any{"publicKey": "keyB="}, map[string]any{"publicKey": "keyC=", "presharedKey": map[string]any{"file": "psk"}}}}}}},
	}
	identity := map[string]any{"publicKey": "own="}
	specs := map[string]map[string]any{"keyA=": {"allowedIPs": []any{"fd00::1/128", "10.0.4.9/32"}}}
	peers := []wgPeer{
		{"keyA=", map[string]any{"endpoint": "203.0.113.9:51820", "lastHandshakeTime": "2026-11-28T12:00:00.5Z", "receiveBytes": 1288490189.0, "transmitBytes": 7.0}},
		{"keyB=", map[string]any{}},
		{"keyC=", map[string]any{}},
	}
	want := []string{
		"(hidden)\town=\t51820\t0x20",
		"keyA=\t(hidden)\t203.0.113.9:51820\tfd00::1/128,10.0.4.9/32\t1795867200\t1288490189\t7\t25",
		"keyB=\t(none)\t(none)\t(none)\t0\t0\t0\t25",
		"keyC=\t(hidden)\t(none)\t(none)\t0\t0\t0\t25",
	}
	facts := &wgFacts{identity, specs, config, staticKeys(config)}
	if got := strings.Split(strings.TrimSuffix(facts.dump(peers, false), "\n"), "\n"); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got := strings.Split(strings.TrimSuffix(facts.dump(peers, true), "\n"), "\n"); !slices.Equal(got, want[1:]) {
		t.Errorf("the peers alone are\n%s", strings.Join(got, "\n"))
	}
}

// TestAnswersBecomeOne joins what several machines answer.
func TestAnswersBecomeOne(t *testing.T) {
	for _, c := range []struct {
		output   string
		headings bool
		want     string
	}{
		{outputTable, true, "NODE ID VERSION LABEL RX\nweb1 keyA= 3 db1 1.2GiB\nweb2 keyA= 3 db2 1.2GiB\n"},
		{outputTable, false, "web1 keyA= 3 db1 1.2GiB\nweb2 keyA= 3 db2 1.2GiB\n"},
		{outputName, true, "db1\ndb2\n"},
		{"jsonpath=$.items[*].metadata.node", true, "web1\nweb2\n"},
		{"jsonpath=$.kind", true, "List\n"},
	} {
		f, err := parseFormat(c.output)
		if err != nil {
			t.Fatal(err)
		}
		answers := []answer{{node: "web1"}, {node: "web2"}}
		got := printed(t, func(s streams) error {
			for i, spec := range []string{db1, db2} {
				answers[i].joined.node = answers[i].node
				p := (&agentSession{streams: s, joined: &answers[i].joined}).printer(f, false)
				p.head(&agentpb.Table{Headings: []string{"ID", "VERSION", "LABEL", "RX", "HANDSHAKE"}, Wide: []uint32{4}})
				if err := p.list(peersFrom(t, spec), true); err != nil {
					return err
				}
			}
			return printAnswers(s, answers, joinedOutput{format: &f, table: table{out: s.out}, headings: c.headings})
		})
		var lines strings.Builder
		for line := range strings.Lines(got) {
			lines.WriteString(strings.Join(strings.Fields(line), " ") + "\n")
		}
		if lines.String() != c.want {
			t.Errorf("%s:\n%swant\n%s", c.output, lines.String(), c.want)
		}
	}
}
