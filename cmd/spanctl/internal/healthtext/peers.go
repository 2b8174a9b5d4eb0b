package healthtext

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/terminal"
	"github.com/spanmesh/span/reconciler/human"
	"github.com/spanmesh/span/reconciler/peer"
)

// The columns of peers.
const (
	ColumnPeer = iota
	ColumnState
	ColumnPath
	ColumnRTT
	ColumnLoss
	ColumnHandshake
	ColumnRX
	ColumnTX
)

// minPath is the width below which the columns of names and paths do not shrink.
const minPath = 12

// PeerColumns returns the columns of the table of peers.
func PeerColumns() []Column {
	return []Column{
		ColumnPeer:      {Heading: "PEER", Least: minPath},
		ColumnState:     {Heading: "STATE", Color: stateColor},
		ColumnPath:      {Heading: "PATH", Least: minPath},
		ColumnRTT:       {Heading: "RTT"},
		ColumnLoss:      {Heading: "LOSS"},
		ColumnHandshake: {Heading: "HANDSHAKE"},
		ColumnRX:        {Heading: "RX"},
		ColumnTX:        {Heading: "TX"},
	}
}

// stateColor returns the colour of a peer's state.
func stateColor(state string) string {
	switch state {
	case "up":
		return terminal.Green
	case "down":
		return terminal.Red
	default:
		return terminal.Yellow
	}
}

// PeerRows returns the rows of peers under PeerColumns.
func PeerRows(peers []*agentpb.Peer, now time.Time) [][]string {
	rows := make([][]string, len(peers))
	for i, p := range peers {
		rows[i] = peerRow(p, now)
	}
	return rows
}

func peerRow(p *agentpb.Peer, now time.Time) []string {
	rtt, loss := "-", "-"
	if p.RttSeconds != nil {
		rtt = RTT(time.Duration(p.GetRttSeconds() * float64(time.Second)))
	}
	if p.Loss != nil {
		loss = fmt.Sprintf("%.0f%%", 100*p.GetLoss())
	}
	return []string{
		ColumnPeer:      p.GetName(),
		ColumnState:     p.GetState(),
		ColumnPath:      PathText(p),
		ColumnRTT:       rtt,
		ColumnLoss:      loss,
		ColumnHandshake: handshakeText(p.GetLastHandshake(), now),
		ColumnRX:        human.Bytes(int64(p.GetReceivedBytes())),
		ColumnTX:        human.Bytes(int64(p.GetTransmittedBytes())),
	}
}

// PathText returns how a peer's packets go, such as "203.0.113.9:51820, punched".
func PathText(p *agentpb.Peer) string {
	text := cmp.Or(p.GetPath(), "-")
	switch peer.PathKind(p.GetPathKind()) {
	case peer.PathPunched:
		text += ", punched"
	case peer.PathBlindRelayTCP:
		text += " over TCP"
	}
	return text
}

// namedPeers is how many peers a line names that have no direct path for one reason.
const namedPeers = 5

// notDirect returns lines about the peers behind relays: why no direct path leads to them, those with one
// reason together.
func (v View) notDirect(peers []*agentpb.Peer) (lines []string) {
	var reasons []string
	names := map[string][]string{}
	for _, p := range peers {
		why := p.GetNotDirect()
		if why == "" {
			continue
		}
		if names[why] == nil {
			reasons = append(reasons, why)
		}
		names[why] = append(names[why], terminal.Plain(p.GetName()))
	}
	for _, why := range reasons {
		all := names[why]
		who := strings.Join(all[:min(len(all), namedPeers)], ", ")
		if more := len(all) - namedPeers; more > 0 {
			who += fmt.Sprintf(" and %d more", more)
		}
		lines = append(append(lines, "i no direct path to "+who), v.Paragraph(capitalized(sentence(terminal.Plain(why))))...)
	}
	return lines
}

func handshakeText(at *timestamppb.Timestamp, now time.Time) string {
	if at == nil {
		return "never"
	}
	return human.Duration(now.Sub(at.AsTime()))
}

// RTT returns a round-trip time, such as "0.4ms", "11ms" or "1.2s".
func RTT(d time.Duration) string {
	switch ms := float64(d) / float64(time.Millisecond); {
	case ms < 9.95:
		return fmt.Sprintf("%.1fms", ms)
	case ms < 999.5:
		return fmt.Sprintf("%.0fms", ms)
	default:
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
}

// IsRelayed reports whether a relay carries the traffic of a peer.
func IsRelayed(p *agentpb.Peer) bool { return p.GetRelay() != "" || p.GetBlindRelay() != "" }
