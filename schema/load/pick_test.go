package load

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spanmesh/span/schema"
)

// fleet has machines with faults and without.
const fleet = `#Def: {a: 1}
_hidden: {machine: network: kubespan: enabled: false}
base: {machine: network: kubespan: enabled: false}
machines: {
	web1: base
	"db-1": base
	any: base | {machine: network: kubespan: enabled: true}
	open: {machine: network: kubespan: enabled: bool}
	list: [base, base & {machine: network: kubespan: mtu: 5}]
	both: base & {machine: network: kubespan: enabled: true}
}
`

// TestExpressions picks configs out of a file and out of a package. Each message has what is wrong
// with the expression or with what it picked.
func TestExpressions(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "fleet.cue"), []byte("package fleet\n"+fleet), 0o600); err != nil {
		t.Fatal(err)
	}
	for expression, want := range map[string]string{
		"machines.web1":    "",
		`machines["db-1"]`: "",
		`machines."db-1"`:  "",
		"machines.list[0]": "",
		"base & {machine: network: kubespan: mtu: 1300}": "",
		"machines.list[1]":   "machine.network.kubespan.mtu: 5: is out of range",
		"machines.list[7]":   "there is no such field",
		"web1":               "there is no such field; want its whole path: `-e 'machines.web1'`",
		"machines.web":       `there is no such field, did you mean "web1"?`,
		"machines.db-1":      `a name with a "-" is in quotes, as in machines."db-1"`,
		"machines.any":       "is any of 2 configs; want one of them",
		"machines.open":      "machine.network.kubespan.enabled: is missing",
		"machines.both":      "machine.network.kubespan.enabled: contradicts the value at ",
		"machines.":          "expected selector",
		"machines[":          "expected operand",
		"nosuch.web1":        "there is no such field",
		"nosuch.web1 & base": `reference "nosuch" not found`,
		"#Def":               "a: unknown field",
		"1+1":                "is an int where a machine config belongs",
	} {
		for _, source := range []schema.Source{{Name: "fleet.cue", Data: []byte(fleet)}, {Name: dir}} {
			_, err := Input{Sources: []schema.Source{source}, Expression: expression}.Load()
			if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%s of %s: got %v, want %q", expression, source.Name, err, want)
			}
		}
	}
}

// TestUndefinedReferences picks out of files with a reference that leads nowhere: it is the fault, also
// where another machine has it.
func TestUndefinedReferences(t *testing.T) {
	const text = "machines: web2: machine: network: kubespan: mtu: nosuch\n"
	dir := t.TempDir()
	write := func(name, text string) schema.Source {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return schema.Source{Name: path, Data: []byte(text)}
	}
	write("fleet.cue", "package fleet\n"+fleet+text)
	imports := "import schema \"github.com/spanmesh/span/machine\"\nm: schema.#Machine\n"
	for want, source := range map[string]schema.Source{
		"plain.cue:12:50: reference \"nosuch\" not found":   write("plain.cue", fleet+text),
		"imports.cue:14:50: reference \"nosuch\" not found": write("imports.cue", imports+fleet+text),
		"fleet.cue:13:50: reference \"nosuch\" not found":   {Name: dir},
	} {
		for _, expression := range []string{"machines.web1", "machines.web2", "machines.web1 & base"} {
			_, err := Input{Sources: []schema.Source{source}, Expression: expression}.Load()
			if err == nil || !strings.HasSuffix(err.Error(), want) {
				t.Errorf("-e %s of %s: got %v, want %s", expression, source.Name, err, want)
			}
		}
	}
}
