package ui

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/support"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/schema"
)

// shownConfig is the config in force, for the page.
type shownConfig struct {
	// Path is the file that it is read from.
	Path string `json:"path"`
	// Text is what the user wrote, with marks in place of secrets; else the YAML of all settings, in
	// which the agent hides secrets.
	Text string `json:"text"`
	// Editable is set where Text is what the user wrote, and can be sent back: a text with marks is, if
	// it is plain data.
	Editable bool `json:"editable"`
	// Revision is the number of that text in the history; 0 where it is not editable.
	Revision uint32     `json:"revision,omitempty"`
	Since    *time.Time `json:"since,omitempty"`
}

func (s *Server) config(ctx context.Context, m *reader, _ *http.Request) (any, error) {
	h, err := m.GetHealth(ctx, connect.NewRequest(&agentpb.GetHealthRequest{}))
	if err != nil {
		return nil, err
	}
	hidden, err := m.settings(ctx, false)
	if err != nil {
		return nil, err
	}
	shown := shownConfig{Path: h.Msg.GetConfig().GetPath()}
	if since := h.Msg.GetConfig().GetSince(); since != nil {
		at := since.AsTime()
		shown.Since = &at
	}
	if hidden == nil {
		return shown, nil
	}
	if revision, secrets, facts := m.inForce(ctx, hidden); revision != nil {
		var safe bool
		if shown.Text, safe = hide(string(revision.GetConfig()), secrets, facts); safe && isEditable(revision, shown.Text, secrets) {
			shown.Editable, shown.Revision = true, revision.GetNumber()
		}
	}
	if shown.Text == "" {
		text, err := s.options.YAML(hidden)
		if err != nil {
			return nil, err
		}
		shown.Text = string(text)
	}
	return shown, nil
}

// isEditable reports whether a text that is shown of a revision would come back as that.
func isEditable(r *agentpb.Revision, text string, secrets []string) bool {
	if !marked.MatchString(text) {
		return true
	}
	shown := schema.Source{Name: r.GetFilename(), Data: []byte(text)}
	back, err := unhide(shown, shown, secrets)
	return err == nil && back == string(r.GetConfig())
}

// settings returns all settings of the config in force; nil if there is none. To reveal its secrets,
// the agent wants root.
func (r *reader) settings(ctx context.Context, reveal bool) (map[string]any, error) {
	list, err := r.List(ctx, connect.NewRequest(&agentpb.ListRequest{Type: resource.MachineConfigs.Aliases[0], Reveal: reveal}))
	if err != nil || len(list.Msg.GetResources()) == 0 {
		return nil, err
	}
	return list.Msg.GetResources()[0].GetSpec().AsMap(), nil
}

// inForce returns the config in force as it was written, and its secrets, beside the settings with
// hidden ones; nil if it cannot be told which secrets it has.
func (r *reader) inForce(ctx context.Context, hidden map[string]any) (*agentpb.Revision, []string, support.Facts) {
	before := r.newest(ctx)
	revealed, err := r.settings(ctx, true)
	if before == nil || err != nil {
		return nil, nil, support.Facts{}
	}
	history, err := r.History(ctx, connect.NewRequest(&agentpb.HistoryRequest{Number: before.GetNumber()}))
	// Another config may have come meanwhile, with other secrets.
	if after := r.newest(ctx); err != nil || len(history.Msg.GetRevisions()) != 1 || after.GetNumber() != before.GetNumber() {
		return nil, nil, support.Facts{}
	}
	var facts support.Facts
	if text, err := json.Marshal(revealed); err == nil {
		facts.Learn(text)
	}
	return history.Msg.GetRevisions()[0], secretsOf(hidden, revealed), facts
}

// newest returns the config in force of the history, without its text; nil if there is none.
func (r *reader) newest(ctx context.Context) *agentpb.Revision {
	history, err := r.History(ctx, connect.NewRequest(&agentpb.HistoryRequest{}))
	if err != nil {
		return nil
	}
	for i, revision := range history.Msg.GetRevisions() {
		if !revision.GetUnconfirmed() || i == 0 && history.Msg.GetTrialUntil() != nil {
			return revision
		}
	}
	return nil
}

// modes are those of apply.
var modes = map[string]agentpb.ApplyMode{
	"dry-run":   agentpb.ApplyMode_APPLY_MODE_DRY_RUN,
	"try":       agentpb.ApplyMode_APPLY_MODE_TRY,
	"immediate": agentpb.ApplyMode_APPLY_MODE_IMMEDIATE,
}

func (s *Server) apply(ctx context.Context, m *reader, r *http.Request) (any, error) {
	var body struct {
		Text string `json:"text"`
		Mode string `json:"mode"`
		// Revision is the one that the text was made from.
		Revision uint32 `json:"revision"`
	}
	if err := decode(r, &body); err != nil {
		return nil, err
	}
	mode, known := modes[body.Mode]
	if !known {
		return nil, &httpError{http.StatusBadRequest, "the mode must be dry-run, try or immediate"}
	}
	base, err := m.base(ctx, body.Revision)
	if err != nil {
		return nil, err
	}
	name, text, scrubber, err := s.withSecrets(ctx, m, body.Text)
	if err != nil {
		return nil, err
	}
	request := &agentpb.ApplyRequest{Config: []byte(text), Filename: name, Mode: mode, Base: base}
	if mode == agentpb.ApplyMode_APPLY_MODE_TRY {
		request.Timeout = durationpb.New(trialLength)
	}
	answer, err := m.Apply(ctx, connect.NewRequest(request))
	if scrubber == nil {
		return answered(answer, err)
	}
	if err != nil {
		return nil, &httpError{statusOf(err), scrubber.Text(s.options.Explain(err).Error())}
	}
	data, err := answerJSON(answer.Msg)
	return json.RawMessage(scrubber.JSON(data)), err
}

// errOther is the error of a change of a config that is not in force any more.
var errOther = &httpError{http.StatusConflict, "another config is in force since this one was shown: load the page again"}

// base returns the SHA-256 of a revision's text, if that is in force.
func (r *reader) base(ctx context.Context, number uint32) ([]byte, error) {
	if is := r.newest(ctx); is == nil || is.GetNumber() != number {
		return nil, errOther
	}
	history, err := r.History(ctx, connect.NewRequest(&agentpb.HistoryRequest{Number: number}))
	if err != nil {
		return nil, err
	}
	if len(history.Msg.GetRevisions()) != 1 {
		return nil, errOther
	}
	sum := sha256.Sum256(history.Msg.GetRevisions()[0].GetConfig())
	return sum[:], nil
}

// withSecrets returns a text that somebody edited with the secrets in force in place of their marks,
// and a name with its format: that of the config in force, as far as the text is in that. The scrubber
// is for what the agent answers; it is nil for a text without marks.
func (s *Server) withSecrets(ctx context.Context, m *reader, text string) (name, whole string, scrubber *support.Scrubber, err error) {
	name, err = s.options.Named(ctx, "page", []byte(text))
	if err != nil {
		return "", "", nil, &httpError{http.StatusBadRequest, err.Error()}
	}
	name = schema.FileName(name)
	if !marked.MatchString(text) {
		return name, text, nil, nil
	}
	hidden, err := m.settings(ctx, false)
	if err != nil {
		return "", "", nil, err
	}
	revision, secrets, facts := m.inForce(ctx, hidden)
	if revision == nil {
		return "", "", nil, &httpError{http.StatusConflict, "the secrets in force are not known: write them in place of " + schema.Hidden}
	}
	shown, safe := hide(string(revision.GetConfig()), secrets, facts)
	if !safe {
		return "", "", nil, &httpError{http.StatusBadRequest, errUnknownMark.Error()} // nothing was shown that could be edited
	}
	whole, err = unhide(schema.Source{Name: name, Data: []byte(text)}, schema.Source{Name: revision.GetFilename(), Data: []byte(shown)}, secrets)
	if err != nil {
		return "", "", nil, &httpError{http.StatusBadRequest, err.Error()}
	}
	facts.Secrets = append(slices.Clone(facts.Secrets), secrets...)
	return name, whole, support.NewScrubber(support.None, facts), nil
}
