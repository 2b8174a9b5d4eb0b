package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/statedir"
	"github.com/spanmesh/span/cmd/spanctl/internal/trial"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/planprint"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/reconciler/state"
)

func planOf(plan state.Plan) *agentpb.Plan {
	out := &agentpb.Plan{Impact: planprint.Impact(plan.Impact())}
	for _, c := range plan {
		text := planprint.Describe(c)
		shown := &agentpb.Change{Action: string(text.Action), Kind: text.Kind, Id: text.ID, Label: text.Label, Text: text.String()}
		for _, f := range text.Fields {
			shown.Fields = append(shown.Fields, &agentpb.Field{Name: f.Name, From: f.From, To: f.To})
		}
		out.Changes = append(out.Changes, shown)
	}
	return out
}

// conditionsOf shows conditions in their order.
func conditionsOf(conditions []condition.Condition) []*agentpb.Condition {
	var out []*agentpb.Condition
	for _, c := range conditions {
		out = append(out, &agentpb.Condition{Code: string(c.Code), Severity: string(c.Severity()), Subject: c.Subject,
			Cause: c.Cause, Remedy: c.Remedy})
	}
	return out
}

// planDone returns the plan of a pass. If the plan was applied in part, the error becomes
// part of it, with next, which says what happens next. Any other error is returned.
func planDone(pass *reconciler.Pass, err error, next string) (*agentpb.Plan, error) {
	var partial *reconciler.ApplyError
	if pass == nil || err != nil && !errors.As(err, &partial) {
		return nil, err
	}
	plan := planOf(pass.Plan)
	plan.Warnings, plan.Conditions = pass.Warnings, conditionsOf(pass.Conditions)
	if partial != nil {
		plan.Failure = &agentpb.Failure{Message: partial.Result.Err.Error(), Done: uint32(len(partial.Result.Done)), Next: next}
	}
	return plan, nil
}

// tableOf returns the headings of a type.
func tableOf(t *resource.Type) *agentpb.Table {
	table := &agentpb.Table{Headings: t.Headings()}
	for _, at := range t.Wide() {
		table.Wide = append(table.Wide, uint32(at)) //nolint:gosec // an index
	}
	return table
}

// shower shows resources.
type shower struct {
	// reveal is set to show their secrets too.
	reveal bool
	// now is what the ages in rows are as of.
	now time.Time
	// names are those of resource.Names.
	names map[string]string
}

// list shows resources.
func (s shower) list(resources []resource.Resource) ([]*agentpb.Resource, error) {
	var out []*agentpb.Resource
	for _, r := range resources {
		shown, err := s.resource(r)
		if err != nil {
			return nil, err
		}
		out = append(out, shown)
	}
	return out, nil
}

// events shows the changes of the resources that a word means, or of all if it is empty.
func (s shower) events(changes []resource.Change, word string) ([]*agentpb.Event, error) {
	var out []*agentpb.Event
	for _, e := range changes {
		if word != "" && !e.Resource.Type.Means(e.Resource, word) {
			continue
		}
		shown, err := s.resource(e.Resource)
		if err != nil {
			return nil, err
		}
		out = append(out, &agentpb.Event{Resource: shown, Deleted: e.Deleted})
	}
	return out, nil
}

// resource shows a resource.
func (s shower) resource(r resource.Resource) (*agentpb.Resource, error) {
	spec := r.Spec
	if secretive, ok := spec.(interface{ Revealed() any }); ok && s.reveal {
		spec = secretive.Revealed()
	}
	encoded, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("show %s %s: %w", r.Type.Name, r.ID, err)
	}
	shown := &structpb.Struct{}
	if err := shown.UnmarshalJSON(encoded); err != nil {
		return nil, fmt.Errorf("show %s %s: %w", r.Type.Name, r.ID, err)
	}
	return &agentpb.Resource{
		Metadata: &agentpb.Metadata{
			Namespace: r.Type.Namespace,
			Type:      r.Type.Name,
			Id:        r.ID,
			Version:   uint32(r.Version),
			Created:   timestamppb.New(r.Created),
			Updated:   timestamppb.New(r.Updated),
		},
		Spec: shown,
		Row:  r.Type.Row(s.now, r),
		Name: s.names[r.ID],
	}, nil
}

// historyOf shows the history; with a number, that config alone and its text.
func historyOf(dir *statedir.Dir, number int) (*agentpb.HistoryResponse, error) {
	response := &agentpb.HistoryResponse{}
	record, on, err := dir.Trial()
	if err != nil {
		return nil, err
	}
	if on {
		response.TrialUntil = timestamppb.New(endOf(record))
	}
	if number != 0 {
		r, data, err := dir.Read(number)
		if err != nil {
			return nil, err
		}
		shown := revisionOf(r)
		shown.Config = data
		response.Revisions = append(response.Revisions, shown)
		return response, nil
	}
	all, err := dir.History()
	for _, r := range all {
		response.Revisions = append(response.Revisions, revisionOf(r))
	}
	return response, err
}

// numberOf returns the number of a revision that a request asks for, or one that no revision has.
// An int may have 32 bits.
func numberOf(asked uint32) int { return int(min(asked, statedir.MaxNumber)) }

// endOf returns when a trial ends, by a wall clock that nobody sets.
func endOf(record trial.Record) time.Time {
	now := machineNow()
	return now.Wall.Add(record.LeftAt(now))
}

func revisionOf(r statedir.Revision) *agentpb.Revision {
	return &agentpb.Revision{Number: uint32(r.Number), Time: timestamppb.New(r.Time), How: r.How, Unconfirmed: !r.Confirmed, Filename: "machine" + filepath.Ext(r.Path)}
}
