package mesh

import (
	"net/netip"
	"reflect"
	"testing"
)

// TestPeerSpecsDifferInEachField changes one field after the other.
func TestPeerSpecsDifferInEachField(t *testing.T) {
	values := []any{Key{1}, "a", netip.MustParseAddr("192.0.2.1"), []netip.Prefix{{}}, []netip.AddrPort{{}}, []EndpointRefusal{{}},
		[]netip.Addr{{}}, true, []Key{{}}, NATNone, RelayOffer{Key: Key{1}}}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[PeerSpec]()) {
		var a, b PeerSpec
		for _, v := range values {
			if reflect.TypeOf(v) == f.Type {
				reflect.ValueOf(&b).Elem().FieldByIndex(f.Index).Set(reflect.ValueOf(v))
			}
		}
		if a.Equal(&b) {
			t.Errorf("two that differ in %s are equal", f.Name)
		}
		if !b.Equal(&b) {
			t.Errorf("one with %s is not equal to itself", f.Name)
		}
	}
}
