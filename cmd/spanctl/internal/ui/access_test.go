package ui

import (
	"testing"
	"time"
)

func TestTokenIsGoodOnceAndForAWhile(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var a access
	if _, ok := a.redeem(now, ""); ok {
		t.Error("a server without a token takes an empty one")
	}
	token := a.newToken(now)
	if _, ok := a.redeem(now, token[:len(token)-1]); ok {
		t.Error("a part of the token is taken")
	}
	cookie, ok := a.redeem(now.Add(tokenLife-1), token)
	if !ok || a.session(now, cookie) == nil {
		t.Fatal("the token is not taken")
	}
	if _, ok := a.redeem(now, token); ok {
		t.Error("the token is taken twice")
	}
	if a.session(now, token) != nil || a.session(now, "") != nil {
		t.Error("what is no cookie is taken for one")
	}
	late := a.newToken(now)
	if _, ok := a.redeem(now.Add(tokenLife), late); ok {
		t.Error("an old token is taken")
	}
	before := a.newToken(now)
	after := a.newToken(now)
	if _, ok := a.redeem(now, before); ok {
		t.Error("a token is taken that another one replaced")
	}
	if _, ok := a.redeem(now, after); !ok {
		t.Error("the last token is not taken")
	}
	if a.session(now.Add(tokenLife-1+sessionLife-1), cookie) == nil || a.session(now.Add(tokenLife-1+sessionLife), cookie) != nil {
		t.Error("a session does not end in time")
	}
}

func TestSessionsAndStreamsAreBounded(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var a access
	var cookies []string
	for range maxSessions + 1 {
		cookie, _ := a.redeem(now, a.newToken(now))
		cookies = append(cookies, cookie)
	}
	if a.session(now, cookies[0]) != nil || a.session(now, cookies[1]) == nil {
		t.Error("another browser than the first was shut out")
	}
	s := a.session(now, cookies[1])
	for range maxStreams {
		if !a.beginStream(s) {
			t.Fatal("a stream is refused")
		}
	}
	if a.beginStream(s) {
		t.Error("there is no bound of the streams")
	}
	a.endStream(s)
	if !a.beginStream(s) {
		t.Error("a stream that ended still counts")
	}
}
