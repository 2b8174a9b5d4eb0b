package stun

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/pion/stun/v3"
)

var senders = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:40000"), netip.MustParseAddrPort("[2001:db8::1]:51820")}

func TestAnswer(t *testing.T) {
	var a answerer
	for i, from := range senders {
		id := ID{byte(i), 2, 3}
		request := Request(id)
		answer, ok := a.to(request, from)
		if !ok || len(answer) > len(request) {
			t.Fatalf("%d bytes are answered by %d, %v", len(request), len(answer), ok)
		}
		if got, seen, ok := ParseAnswer(answer); !ok || got != id || seen != from {
			t.Errorf("the answer is %v %v %v, want %v", got, seen, ok, from)
		}
	}
}

func TestRefusals(t *testing.T) {
	var a answerer
	bare := stun.MustBuild(stun.TransactionID, stun.BindingRequest).Raw
	answer := bytes.Clone(func() []byte { b, _ := a.to(Request(ID{}), senders[0]); return b }())
	for name, message := range map[string][]byte{
		"nothing":                       nil,
		"a request without padding":     bare,
		"a request that is cut":         Request(ID{})[:40],
		"an answer":                     answer,
		"an indication":                 stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodBinding, stun.ClassIndication), stun.NewSoftware(software)).Raw,
		"another method":                stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest), stun.NewSoftware(software)).Raw,
		"a long request":                stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.RawAttribute{Type: stun.AttrSoftware, Value: make([]byte, MaxMessage)}).Raw,
		"a message of WireGuard's data": append([]byte{4, 0, 0, 0}, make([]byte, 60)...),
	} {
		if _, ok := a.to(message, senders[0]); ok {
			t.Errorf("%s is answered", name)
		}
		if _, _, ok := ParseAnswer(message); ok != (name == "an answer") {
			t.Errorf("%s is taken for an answer: %v", name, ok)
		}
	}
}

// FuzzMessages takes any message as a request and as an answer.
func FuzzMessages(f *testing.F) {
	var a answerer
	f.Add(Request(ID{1}))
	for _, from := range senders {
		if answer, ok := a.to(Request(ID{1}), from); ok {
			f.Add(bytes.Clone(answer))
		}
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		var a answerer
		for _, from := range senders {
			answer, ok := a.to(message, from)
			if ok && (len(answer) > len(message) || len(message) > MaxMessage) {
				t.Errorf("%d bytes are answered by %d", len(message), len(answer))
			}
		}
		if _, seen, ok := ParseAnswer(message); ok && (!seen.IsValid() || seen.Port() == 0 || seen.Addr().Is4In6()) {
			t.Errorf("seen at %v", seen)
		}
	})
}
