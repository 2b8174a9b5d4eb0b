package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/spanmesh/span/cmd/spanctl/internal/explain"
)

// explainOptions are the flags of `spanctl explain`.
type explainOptions struct {
	output    string
	recursive bool
}

func newExplain() *cobra.Command {
	o := &explainOptions{}
	cmd := &cobra.Command{
		Use:   "explain [NAME]",
		Short: "Explain a setting, a resource, a field, a condition or an event",
		Long: `Explain what a name means: a setting or section of the machine config, a resource of
` + "`spanctl get`" + ` or a field of one, a condition of ` + "`spanctl get conditions`" + `, a
reason of ` + "`spanctl get events`" + `, or a document of Talos and its fields. Without a name, list what there is.

A setting has its type, what it must be, bounds, default, a valid example, what a change does,
which settings it needs, and the version that has it first. A path may be written with the
numbers of items, with [] or without. The end of a path is enough where it is the only one.`,
		Example: `  spanctl explain machine.network.kubespan.mtu
  spanctl explain cluster.discovery --recursive
  spanctl explain peers.state
  spanctl explain RoutesShadowed`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeTopic,
		RunE: func(cmd *cobra.Command, args []string) error {
			word := ""
			if len(args) > 0 {
				word = args[0]
			}
			return o.run(streamsOf(cmd), word)
		},
	}
	cmd.Flags().BoolVarP(&o.recursive, "recursive", "r", false, "list all fields below, not only the next")
	cmd.Flags().StringVarP(&o.output, "output", "o", outputText, "output format: text, yaml or json")
	return cmd
}

// completeTopic completes a name part by part.
func completeTopic(_ *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	index, err := explain.All()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var words []cobra.Completion
	directive := cobra.ShellCompDirectiveNoFileComp
	for _, c := range index.Complete(prefix) {
		words = append(words, cobra.CompletionWithDesc(c.Word, c.Summary))
		if c.HasBelow {
			directive |= cobra.ShellCompDirectiveNoSpace
		}
	}
	return words, directive
}

func (o *explainOptions) run(s streams, word string) error {
	if err := oneOf("output", o.output, outputText, outputYAML, outputJSON); err != nil {
		return err
	}
	index, err := explain.All()
	if err != nil {
		return err
	}
	topic, also, err := index.Find(word)
	if err != nil {
		return err
	}
	if o.output != outputText {
		return o.document(s.out, topic)
	}
	var b strings.Builder
	o.text(&b, topic)
	if topic == index.Config {
		overview(&b, index)
	}
	if len(also) > 0 {
		b.WriteString("\nSEE ALSO:\n  " + strings.Join(also, "\n  ") + "\n")
	}
	_, err = io.WriteString(s.out, b.String())
	return err
}

// topicDocument is a topic in JSON.
type topicDocument struct {
	*explain.Topic
	Fields []topicDocument `json:"fields,omitempty"`
}

// document prints a topic with the topics below: the next, or all.
func (o *explainOptions) document(out io.Writer, t *explain.Topic) error {
	var of func(t *explain.Topic, deep bool) topicDocument
	of = func(t *explain.Topic, deep bool) topicDocument {
		shown := *t
		if t.Setting != nil {
			setting := *t.Setting
			setting.Fields = nil
			shown.Setting = &setting
		}
		d := topicDocument{Topic: &shown}
		for _, b := range t.Below {
			if deep {
				d.Fields = append(d.Fields, of(b, o.recursive))
			}
		}
		return d
	}
	text, err := json.MarshalIndent(of(t, true), "", "  ")
	if err != nil {
		return err
	}
	if o.output == outputJSON {
		_, err = fmt.Fprintln(out, string(text))
		return err
	}
	var node yaml.Node
	if err := yaml.Unmarshal(text, &node); err != nil {
		return err
	}
	unfold(&node)
	if text, err = yaml.Marshal(&node); err != nil {
		return err
	}
	_, err = out.Write(text)
	return err
}

// text writes a topic for people, as kubectl explain does.
func (o *explainOptions) text(b *strings.Builder, t *explain.Topic) {
	name := t.Name
	if name == "" {
		name = "The machine config"
	}
	b.WriteString(strings.ToUpper(string(t.Kind)) + ": " + name)
	if t.Type != "" && t.Name != "" && t.Kind != explain.KindResource {
		b.WriteString(" <" + t.Type + ">")
	}
	b.WriteString("\n\nDESCRIPTION:\n" + indented(t.Description, "  ") + "\n")
	if len(t.Facts) > 0 {
		b.WriteString("\n")
	}
	for _, f := range t.Facts {
		value := f.Value
		if !f.Code { // an example can be copied
			value = strings.TrimLeft(indented(value, strings.Repeat(" ", 12)), " ")
		}
		fmt.Fprintf(b, "  %-10s%s\n", f.Label+":", value)
	}
	if len(t.Below) > 0 {
		b.WriteString("\nFIELDS:\n")
		o.fields(b, t.Below, 1)
	}
}

// fields lists the topics below another, as deep as asked for.
func (o *explainOptions) fields(b *strings.Builder, below []*explain.Topic, depth int) {
	width := 0
	heads := make([]string, len(below))
	for i, t := range below {
		heads[i] = t.LastName() + " <" + t.Type + ">"
		width = max(width, len(heads[i]))
	}
	margin := strings.Repeat("  ", depth)
	for i, t := range below {
		fmt.Fprintf(b, "%s%-*s  %s\n", margin, width, heads[i], t.Summary())
		if o.recursive {
			o.fields(b, t.Below, depth+1)
		}
	}
}

// overview lists the names that are not settings.
func overview(b *strings.Builder, index *explain.Index) {
	for _, section := range []struct {
		heading string
		topics  []*explain.Topic
	}{{"RESOURCES", index.Resources}, {"CONDITIONS", index.Conditions}, {"REASONS OF EVENTS", index.Events}, {"DOCUMENTS OF TALOS", index.Documents}} {
		width := 0
		for _, t := range section.topics {
			width = max(width, len(t.Name))
		}
		b.WriteString("\n" + section.heading + ":\n")
		for _, t := range section.topics {
			fmt.Fprintf(b, "  %-*s  %s\n", width, t.Name, t.Summary())
		}
	}
}

// textWidth is the length of the longest line of text for people.
const textWidth = 80

// indented returns text in lines that begin with a margin. A word is never broken.
func indented(text, margin string) string {
	var lines []string
	line := margin
	for word := range strings.FieldsSeq(text) {
		if line != margin && len(line)+1+len(word) > textWidth {
			lines = append(lines, line)
			line = margin
		}
		if line != margin {
			line += " "
		}
		line += word
	}
	return strings.Join(append(lines, line), "\n")
}
