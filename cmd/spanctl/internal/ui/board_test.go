package ui

import (
	"fmt"
	"strings"
	"testing"
)

// text returns updates on one line.
func text(updates []update) string {
	var parts []string
	for _, u := range updates {
		parts = append(parts, u.event+" "+string(u.data))
	}
	return strings.Join(parts, "; ")
}

func TestBoardSendsWhatChanged(t *testing.T) {
	b := newBoard([]string{"a", "b"})
	updates, at, changed := b.since(0)
	if len(updates) != 0 {
		t.Fatalf("an empty board has %s", text(updates))
	}
	b.setHealth("a", "web1", []byte("1"))
	<-changed
	b.setHealth("a", "", []byte("2"))
	b.addEvents("b", true, []event{{ID: "1", Reason: "Old"}, {ID: "2", Reason: "New"}})
	updates, at, changed = b.since(at)
	if got := text(updates); got != `health 2; events {"machine":"b","events":[`+
		`{"id":"1","time":"","type":"","reason":"Old","subject":"","message":"","count":0},`+
		`{"id":"2","time":"","type":"","reason":"New","subject":"","message":"","count":0}],"reset":true}` {
		t.Errorf("the board has %s", got)
	}
	b.addEvents("b", false, []event{{ID: "1", Reason: "Old", Count: 2}})
	<-changed
	updates, at, _ = b.since(at)
	if got := text(updates); !strings.Contains(got, `"count":2`) || strings.Contains(got, "New") || !strings.Contains(got, `"reset":false`) {
		t.Errorf("the event that happened again comes as %s", got)
	}
	if updates, _, _ = b.since(at); len(updates) != 0 {
		t.Errorf("without a change there is %s", text(updates))
	}
	if updates, _, _ = b.since(0); strings.Count(text(updates), `"id":"1"`) != 1 || strings.Index(text(updates), "New") > strings.Index(text(updates), "Old") {
		t.Errorf("a new stream has %s", text(updates))
	}
	if names := b.names(); names[0] != (machineName{"a", "web1"}) || names[1] != (machineName{"b", "b"}) {
		t.Errorf("the names are %+v", names)
	}
}

func TestBoardKeepsTheLastEvents(t *testing.T) {
	b := newBoard([]string{"a"})
	for i := range maxEvents + 10 {
		b.addEvents("a", i == 0, []event{{ID: fmt.Sprint("n", i, ".")}})
	}
	updates, _, _ := b.since(0)
	if got := text(updates); strings.Count(got, `"id"`) != maxEvents || strings.Contains(got, `"n9."`) || !strings.Contains(got, `"n10."`) {
		t.Errorf("the board has %s", got)
	}
}
