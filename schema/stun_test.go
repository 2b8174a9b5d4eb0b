package schema

import "testing"

func TestSTUNServer(t *testing.T) {
	for text, want := range map[string]STUNServer{
		"stun.example.com:3478": {Host: "stun.example.com", Port: 3478},
		"192.0.2.1:1":           {Host: "192.0.2.1", Port: 1},
		"[2001:db8::1]:65535":   {Host: "2001:db8::1", Port: 65535},
	} {
		var got STUNServer
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%s is %+v: %v", text, got, err)
		}
		if back, err := got.MarshalText(); err != nil || string(back) != text {
			t.Errorf("%s becomes %s: %v", text, back, err)
		}
	}
	for _, text := range []string{"", "stun.example.com", ":3478", "a b:1", "a:0", "a:65536", "127.0.0.1:1", "[fe80::1%eth0]:1", "[::ffff:192.0.2.1]:1", "stun:a:1"} {
		if err := new(STUNServer).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
