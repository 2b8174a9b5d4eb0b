package load

import (
	"cuelang.org/go/cue"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/internal/check"
	"github.com/spanmesh/span/schema/internal/files"
)

// MaxSize is the size of the largest file that is read, in bytes. A config with thousands of
// entries is well below.
const MaxSize = 4 << 20

// Input describes what makes up a machine config.
type Input struct {
	// Sources are unified. Each may have settings that others leave out. None may contradict
	// another.
	Sources []schema.Source
	// Expression is a CUE expression that picks the config out of the sources, such as
	// "machines.web1". If it is empty, the sources are the config.
	Expression string
	// Tags give values to the fields with @tag in CUE files, as "name=value", and select the files of
	// packages with @if, as "name". Each must be used.
	Tags []string
	// ReadSecret reads the secrets that the config has elsewhere. If it is nil, they are not read.
	ReadSecret ReadSecret
}

// IsComputed reports whether the config is made of more than one file as it is: of several, of a
// package in a directory, by an expression or with tags.
func (in Input) IsComputed() bool {
	return len(in.Sources) != 1 || in.Expression != "" || len(in.Tags) > 0 || in.Sources[0].Data == nil
}

// Config loads a complete machine config from a file. The extension of name is its format. A CUE
// file may import packages of the module that name is in. YAML documents in one file are unified.
func Config(name string, data []byte) (*schema.Config, error) {
	return Input{Sources: []schema.Source{{Name: name, Data: data}}}.Load()
}

// Load loads a complete machine config.
func (in Input) Load() (*schema.Config, error) {
	l, loaded, err := in.load()
	defer l.leave()
	if err == nil {
		err = loaded.ReadSecrets(in.ReadSecret)
	}
	if err != nil {
		return nil, err
	}
	return loaded.Config, nil
}

// Resolve loads a complete machine config. It also returns the config as one file that needs no
// other: the source if there is only one file, else a new file in CUE.
func (in Input) Resolve() (schema.Source, *schema.Config, error) {
	loaded, err := in.Evaluate()
	if err == nil {
		err = loaded.ReadSecrets(in.ReadSecret)
	}
	if err != nil {
		return schema.Source{}, nil, err
	}
	return loaded.Source, loaded.Config, nil
}

// Evaluate loads a complete machine config, and leaves the secrets that it has elsewhere unread.
func (in Input) Evaluate() (*Evaluated, error) {
	l, loaded, err := in.load()
	defer l.leave()
	if err != nil {
		return nil, err
	}
	if !in.IsComputed() && !loaded.Foreign {
		loaded.Source = in.Sources[0]
		return loaded, nil
	}
	data, err := l.export(in)
	loaded.Source = schema.Source{Name: exportedName, Data: data}
	return loaded, err
}

func (in Input) load() (*loader, *Evaluated, error) {
	l := newLoader(in)
	l.complete = true
	if err := checkEnds(in.Sources); err != nil {
		return l, nil, err
	}
	config, err := l.load(in)
	if err != nil {
		return l, nil, err
	}
	return l, &Evaluated{Config: config, Elsewhere: l.elsewhere(config), Foreign: l.files.Foreign}, nil
}

// Fragment loads a part of a machine config. Settings that other parts would have may be missing.
// A part without its parent, such as a document with "network" at its root, belongs where the
// schema has that field.
func Fragment(name string, data []byte) (*schema.Config, error) {
	in := Input{Sources: []schema.Source{{Name: name, Data: data}}}
	l := newLoader(in)
	l.place = placeFragment
	defer l.leave()
	return l.load(in)
}

// loader loads one config.
type loader struct {
	// name is the name of the first source.
	name  string
	files *files.Set
	// place moves a document to where it belongs in a config.
	place func(cue.Value) cue.Value
	// complete asks for the checks of settings that need each other.
	complete bool
	workshop *workshop
	// shape is the schema.
	shape cue.Value
	// user is what the user wrote.
	user cue.Value
	// full is the same, unified with the schema.
	full cue.Value
	// picked is set if an expression picked the config.
	picked bool
	// prefix is the path of the picked config in the sources.
	prefix []string
}

func newLoader(in Input) *loader {
	l := &loader{name: "the config", files: files.New(in.Sources...), picked: in.Expression != ""}
	l.files.SetTags(in.Tags)
	l.place = func(v cue.Value) cue.Value { return v }
	if len(in.Sources) > 0 {
		l.name = in.Sources[0].Name
	}
	return l
}

// load loads the config. The caller calls leave when it is done with the loader.
func (l *loader) load(in Input) (config *schema.Config, err error) {
	if err := checkSize(in.Sources); err != nil {
		return nil, err
	}
	if l.workshop, err = enter(in.Sources); err != nil {
		return nil, err
	}
	config, err = l.once(in)
	open := l.open()
	if err == nil {
		var problems schema.Problems
		if open, problems = l.checkDefaults(in); len(problems) > 0 {
			return nil, problems
		}
	}
	if len(open) > 0 {
		again, config, err := l.reload(in, open)
		if again != nil {
			l.workshop.leave()
			*l = *again
		}
		return config, err
	}
	return config, err
}

// leave gives back what the loader uses.
func (l *loader) leave() {
	l.workshop.leave()
	l.workshop = nil
}

// once loads the config with the schema of the workshop.
func (l *loader) once(in Input) (*schema.Config, error) {
	ctx := l.workshop.ctx
	l.shape = l.workshop.shape
	if !l.complete {
		l.shape = l.shape.Unify(ctx.CompileString("machine: network: kubespan: enabled: bool | *false"))
	}
	if err := l.read(ctx, in); err != nil {
		return nil, err
	}
	l.full = l.shape.Unify(l.user)
	config, err := l.decode(l.full)
	if err != nil {
		return nil, err
	}
	peers := config.Cluster.Discovery.Registries.Static.Peers
	for _, peer := range peers {
		for i := range peer.AllowedIPs {
			peer.AllowedIPs[i] = peer.AllowedIPs[i].Masked()
		}
	}
	if problems := l.faults(check.Peers(peers)); len(problems) > 0 {
		problems.Sort()
		return nil, problems
	}
	return config, nil
}

// decode decodes the unified config.
func (l *loader) decode(full cue.Value) (*schema.Config, error) {
	if config, ok := l.decodeSound(full); ok {
		return config, nil
	}
	if problems := l.problems(full); len(problems) > 0 {
		return nil, problems
	}
	config := &schema.Config{}
	if err := full.Decode(config); err != nil {
		return nil, schema.Problems{{File: l.name, Reason: l.files.Hide(err.Error())}}
	}
	return config, nil
}
