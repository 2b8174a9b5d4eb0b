package top

import (
	"strings"
	"unicode/utf8"

	"github.com/spanmesh/span/cmd/spanctl/internal/terminal"
)

// maxFilter is the longest filter in characters.
const maxFilter = 64

// screens are the keys that show a screen, and hide it.
var screens = map[string]screen{"c": conditions, "e": events, "m": machine, "d": diff, "?": help}

// press takes a key.
func (m *Model) press(k Key) []Ask {
	switch {
	case k.Name == "ctrl+c", k.Name == "q" && !m.typing:
		m.quit = true
		return nil
	case m.typing:
		m.typeFilter(k)
		return nil
	}
	switch k.Name {
	case "/":
		m.typing = true
	case "p":
		m.pause()
	case "s":
		m.sort = m.sort.next()
	case "esc", "alt+esc", "backspace": // a terminal sends two esc as one
		if m.screen == overview {
			m.filter = ""
		}
		m.show(overview)
	case "enter":
		m.enter()
	default:
		if s, is := screens[k.Name]; is {
			m.toggle(s)
		} else {
			m.move(k.Name)
		}
	}
	if m.screen == diff && m.compared == nil {
		return m.ask(m.questions(), Ask{Topic: AskDiff}, 0)
	}
	return m.questions()
}

// show changes the screen. A diff is made anew each time.
func (m *Model) show(s screen) {
	m.screen, m.scroll, m.compared = s, 0, nil
}

// toggle shows a screen, or the overview where it is shown.
func (m *Model) toggle(s screen) {
	if s == m.screen {
		s = overview
	}
	m.show(s)
}

func (m *Model) pause() {
	if m.frozen != nil {
		m.frozen = nil
		return
	}
	m.frozen = m.live.clone()
}

// enter shows the chosen peer.
func (m *Model) enter() {
	rows := m.peers()
	if m.screen != overview || len(rows) == 0 {
		return
	}
	m.cursor = rows[m.chosen(rows)].GetPublicKey()
	m.details = nil
	delete(m.due, AskDetails)
	m.show(peer)
}

// typeFilter takes a key while the filter is typed.
func (m *Model) typeFilter(k Key) {
	switch k.Name {
	case "enter":
		m.typing = false
	case "esc", "alt+esc":
		m.typing, m.filter = false, ""
	case "backspace":
		_, size := utf8.DecodeLastRuneInString(m.filter)
		m.filter = m.filter[:len(m.filter)-size]
	case "ctrl+u":
		m.filter = ""
	default:
		for _, r := range k.Text {
			if utf8.RuneCountInString(m.filter) < maxFilter && !terminal.IsUnsafe(r) && r != utf8.RuneError {
				m.filter += string(r)
			}
		}
	}
	m.scroll = 0
}

// matches reports whether the filter takes something with words.
func (m *Model) matches(words ...string) bool {
	filter := strings.ToLower(m.filter)
	for _, w := range words {
		if strings.Contains(strings.ToLower(w), filter) {
			return true
		}
	}
	return false
}

// move moves the choice, or the lines that are shown.
func (m *Model) move(key string) {
	page := max(m.height-frameLines, 1)
	steps := map[string]int{"up": -1, "k": -1, "down": 1, "j": 1, "pgup": -page, "pgdown": page, "ctrl+b": -page, "ctrl+f": page, "space": page,
		"home": -maxMove, "g": -maxMove, "end": maxMove, "G": maxMove}
	by, moves := steps[key]
	if !moves {
		return
	}
	if m.screen != overview {
		m.scroll = min(max(m.scroll+by, 0), m.maxScroll())
		return
	}
	rows := m.peers()
	if len(rows) == 0 {
		return
	}
	to := min(max(m.chosen(rows)+by, 0), len(rows)-1)
	m.cursor = rows[to].GetPublicKey()
}

// maxMove is more than there are lines.
const maxMove = 1 << 30
