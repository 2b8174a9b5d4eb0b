package top

import (
	"context"
	"errors"
	"io"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/ansi"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
)

// Source answers the questions of a model. Its methods are called concurrently.
type Source interface {
	// Health returns the health of the machine.
	Health(ctx context.Context) (*agentpb.GetHealthResponse, error)
	// Events returns the events that are kept.
	Events(ctx context.Context) ([]Event, error)
	// Samples returns the last hour of each peer, by public key.
	Samples(ctx context.Context) (map[string][]Sample, error)
	// Details returns what the health does not have about the peer with a public key.
	Details(ctx context.Context, key string) (Details, error)
	// Diff returns the lines of what differs between the kernel and the config in force. Nothing in
	// them controls the terminal but colours.
	Diff(ctx context.Context) ([]string, error)
}

// Run shows the screen on a terminal until the user leaves it or ctx ends, and then the terminal is
// as it was. First is the health at the start.
func Run(ctx context.Context, in io.Reader, out io.Writer, source Source, options Options, first *agentpb.GetHealthResponse) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	p := &program{ctx: ctx, source: source, model: New(time.Now(), options, first)}
	profile := colorprofile.ASCII
	if options.Color {
		profile = colorprofile.ANSI
	}
	_, err := tea.NewProgram(p, tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out), tea.WithColorProfile(profile), tea.WithoutSignalHandler()).Run()
	if errors.Is(err, context.Canceled) {
		return nil // a signal ended it
	}
	return err
}

// program connects a model with a terminal.
type program struct {
	ctx    context.Context
	source Source
	model  *Model
}

var _ tea.Model = (*program)(nil)

// Init implements tea.Model.
func (p *program) Init() tea.Cmd { return tick() }

// tick sends a Tick at the next whole second.
func tick() tea.Cmd {
	return tea.Every(time.Second, func(time.Time) tea.Msg { return Tick{} })
}

// Update implements tea.Model.
func (p *program) Update(message tea.Msg) (tea.Model, tea.Cmd) {
	var commands []tea.Cmd
	switch is := message.(type) {
	case tea.WindowSizeMsg:
		message = Resize{is.Width, is.Height}
	case tea.KeyPressMsg:
		if is.Keystroke() == "ctrl+z" {
			return p, tea.Suspend
		}
		message = Key{is.Keystroke(), is.Text}
		if is.Text != "" && is.Keystroke() != "space" {
			message = Key{is.Text, is.Text}
		}
	case tea.PasteMsg:
		message = Key{Text: is.Content}
	case tea.ModeReportMsg:
		if is.Mode != ansi.ModeUnicodeCore || is.Value.IsNotRecognized() || is.Value.IsPermanentlyReset() {
			return p, nil
		}
		message = Graphemes{}
	case Tick:
		commands = append(commands, tick())
	}
	for _, a := range p.model.Update(time.Now(), message) {
		commands = append(commands, p.command(a))
	}
	if p.model.Quit() {
		return p, tea.Quit
	}
	return p, tea.Batch(commands...)
}

// command returns what puts a question to the source.
func (p *program) command(a Ask) tea.Cmd {
	return func() tea.Msg {
		switch a.Topic {
		case AskHealth:
			h, err := p.source.Health(p.ctx)
			return HealthAnswer{h, err}
		case AskEvents:
			events, err := p.source.Events(p.ctx)
			return EventsAnswer{events, err}
		case AskSamples:
			peers, err := p.source.Samples(p.ctx)
			return SamplesAnswer{peers, err}
		case AskDetails:
			details, err := p.source.Details(p.ctx, a.Peer)
			return DetailsAnswer{a.Peer, details, err}
		default:
			lines, err := p.source.Diff(p.ctx)
			return DiffAnswer{lines, err}
		}
	}
}

// View implements tea.Model.
func (p *program) View() tea.View {
	v := tea.NewView(p.model.View())
	v.AltScreen = true
	return v
}
