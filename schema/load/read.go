package load

import (
	"cuelang.org/go/cue"
	"cuelang.org/go/cue/cuecontext"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/internal/field"
)

// read sets the value that the user wrote from all sources.
func (l *loader) read(ctx *cue.Context, in Input) error {
	l.user = ctx.CompileString("{}")
	for _, one := range in.Sources {
		documents, err := l.files.Parse(ctx, one)
		if err != nil {
			return l.files.Syntax(one, err)
		}
		for _, document := range documents {
			if err := l.checkRoot(document, one.Name); err != nil {
				return err
			}
			if err := l.checkOrigin(document, one.Name); err != nil {
				return err
			}
			document = l.place(document)
			// A single document with a fault must not be unified: its valid parts would be
			// lost.
			alone := len(in.Sources) == 1 && len(documents) == 1
			if kind := document.IncompleteKind(); !alone || kind != cue.StructKind && kind != cue.BottomKind {
				document = l.user.Unify(document)
			}
			l.user = document
		}
	}
	if problems := l.files.UnusedTags(); len(problems) > 0 {
		return problems
	}
	if in.Expression == "" {
		return nil
	}
	picked, err := l.pick(ctx, in.Expression)
	if err != nil {
		return err
	}
	l.user = picked
	return l.checkRoot(picked, "-e "+in.Expression)
}

// checkRoot returns a problem for a document that is not a struct.
func (l *loader) checkRoot(v cue.Value, name string) error {
	kind := v.IncompleteKind()
	if kind == cue.BottomKind || kind&cue.StructKind != 0 {
		return nil
	}
	p := schema.Problem{File: name, Reason: "is " + field.Article(kind) + " where a machine config belongs",
		Want: `a struct with the fields "machine" and "cluster"`}
	l.files.At(&p, v.Pos())
	return schema.Problems{p}
}

// checkOrigin returns a problem for a document that is Talos' as a whole. Its documents must not be
// unified: they contradict each other, and most of their fields are not about the mesh.
func (l *loader) checkOrigin(v cue.Value, name string) error {
	marker := "version"
	if kind := v.LookupPath(cue.ParsePath("kind")); kind.Exists() {
		marker = "apiVersion"
	}
	version := v.LookupPath(cue.ParsePath(marker))
	if text, err := version.String(); err != nil || text != talosVersion {
		return nil
	}
	p := schema.Problem{File: name, Path: marker, Reason: "is of a Talos machine config",
		Want: "what `spanctl import talos " + name + "` makes of it, or its sections machine.network.kubespan and cluster alone"}
	l.files.At(&p, version.Pos())
	return schema.Problems{p}
}

// talosVersion is the version of the machine configs of Talos, and of their documents.
const talosVersion = "v1alpha1"

// placeFragment moves a part of a config to where the schema has it.
func placeFragment(v cue.Value) cue.Value {
	for it, err := v.Fields(); err == nil && it.Next(); {
		if parent := field.Parent(it.Selector().Unquoted()); parent != "" {
			return cuecontext.New().CompileString("{}").FillPath(cue.ParsePath(parent), v)
		}
	}
	return v
}
