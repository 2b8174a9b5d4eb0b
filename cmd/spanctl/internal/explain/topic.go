package explain

import (
	"slices"
	"strings"
	"sync"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/event"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/schema/reference"
	"github.com/spanmesh/span/schema/talos"
)

// Kind is what a topic is.
type Kind string

// The kinds.
const (
	KindSetting   Kind = "setting"
	KindResource  Kind = "resource"
	KindField     Kind = "field"
	KindCondition Kind = "condition"
	KindEvent     Kind = "event"
	KindTalos     Kind = "talos"
)

// Topic is something that can be explained.
type Topic struct {
	Kind Kind `json:"kind"`
	// Name is the name that finds the topic and no other.
	Name string `json:"name"`
	// Type is the type of a value; empty for a condition and an event.
	Type        string `json:"type,omitempty"`
	Description string `json:"description,omitempty"`
	// Facts are what else there is to say, in the order in which people read them.
	Facts []reference.Line `json:"-"`
	// Setting is that of a setting.
	Setting *reference.Setting `json:"setting,omitempty"`
	// Condition is that of a condition.
	Condition *Condition `json:"condition,omitempty"`
	// Aliases are other names of a resource.
	Aliases []string `json:"aliases,omitempty"`
	// Becomes is the setting that a field of Talos becomes.
	Becomes string `json:"becomes,omitempty"`
	// Below are the topics inside of this one.
	Below []*Topic `json:"-"`
}

// Condition describes the conditions of a code.
type Condition struct {
	Severity string `json:"severity"`
	Meaning  string `json:"meaning"`
	// Check is how an operator sees more.
	Check  string `json:"check,omitempty"`
	Remedy string `json:"remedy"`
}

// Summary returns the first sentence of the description.
func (t *Topic) Summary() string { return reference.FirstSentence(t.Description) }

// LastName returns the last part of the name, and of a field of a Talos document its path there.
func (t *Topic) LastName() string {
	if _, path, below := strings.Cut(t.Name, "."); below && t.Kind == KindTalos {
		return path
	}
	return t.Name[strings.LastIndex(t.Name, ".")+1:]
}

// Index has all topics.
type Index struct {
	// Config is the machine config as a whole.
	Config *Topic
	// Resources, Conditions, Events and Documents are the topics of these kinds that are not inside of
	// others.
	Resources, Conditions, Events, Documents []*Topic
}

// All returns the topics. The caller must not change them.
func All() (*Index, error) { return index() }

var index = sync.OnceValues(func() (*Index, error) {
	root, err := reference.Settings()
	if err != nil {
		return nil, err
	}
	i := &Index{Config: ofSetting(root), Documents: documents()}
	for _, t := range resource.Types {
		i.Resources = append(i.Resources, ofResource(t))
	}
	for _, d := range condition.Definitions() {
		i.Conditions = append(i.Conditions, &Topic{Kind: KindCondition, Name: string(d.Code), Description: strings.TrimSuffix(capital(d.Summary)+". "+d.Milder, " "),
			Condition: &Condition{Severity: string(d.Severity), Meaning: d.Summary, Check: d.Check, Remedy: d.Remedy},
			Facts: []reference.Line{{Label: "Severity", Value: string(d.Severity)}, {Label: "Check", Value: strings.ReplaceAll(d.Check, "`", "")},
				{Label: "Remedy", Value: strings.ReplaceAll(d.Remedy, "`", "")}, {Label: "Cause", Value: "with figures: spanctl get conditions -o yaml"}}})
	}
	for _, d := range event.Definitions() {
		i.Events = append(i.Events, &Topic{Kind: KindEvent, Name: string(d.Reason), Description: capital(d.Summary) + ".",
			Facts: []reference.Line{{Label: "Shown by", Value: "spanctl get events"}}})
	}
	return i, nil
})

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func ofSetting(s *reference.Setting) *Topic {
	t := &Topic{Kind: KindSetting, Name: s.Path, Type: s.Type, Description: s.Description, Setting: s}
	if s.Path != "" {
		t.Facts = s.Lines()[1:] // the first is the type
	}
	for i := range s.Fields {
		t.Below = append(t.Below, ofSetting(&s.Fields[i]))
	}
	return t
}

func ofResource(r *resource.Type) *Topic {
	t := &Topic{Kind: KindResource, Name: r.Aliases[0], Type: "resource", Description: r.Description(), Aliases: r.Aliases[1:]}
	t.Facts = []reference.Line{{Label: "Aliases", Value: strings.Join(r.Aliases[1:], ", ")}, {Label: "Shown by", Value: "spanctl get " + t.Name}}
	if len(r.Fields()) == 0 {
		t.Facts = append(t.Facts, reference.Line{Label: "Fields", Value: "those of the machine config: spanctl explain machine, spanctl explain cluster"})
	}
	t.Below = ofFields(t.Name, r.Fields())
	return t
}

func ofFields(path string, fields []resource.Field) (topics []*Topic) {
	for _, f := range fields {
		t := &Topic{Kind: KindField, Name: path + "." + f.Name, Type: f.Type, Description: f.Description}
		below := t.Name
		if strings.HasPrefix(f.Type, "[]") {
			below += "[]"
		}
		t.Below = ofFields(below, f.Fields)
		topics = append(topics, t)
	}
	return topics
}

// documents returns the documents of Talos with the fields that the importer takes.
func documents() (topics []*Topic) {
	for _, f := range talos.Fields() {
		at := slices.IndexFunc(topics, func(t *Topic) bool { return t.Name == f.Document })
		if at < 0 {
			at = len(topics)
			topics = append(topics, &Topic{Kind: KindTalos, Name: f.Document, Type: "Talos document",
				Description: "A document of a Talos machine config. `spanctl import talos` takes these fields."})
		}
		topics[at].Below = append(topics[at].Below, &Topic{Kind: KindTalos, Name: f.Document + "." + f.Name, Type: "Talos field", Becomes: f.Setting,
			Description: "Becomes " + f.Setting + "."})
	}
	return topics
}
