package resource

import (
	"net/netip"
	"reflect"
	"testing"
	"time"
)

// samples are values other than zero of types that hide their fields.
var samples = map[string]any{
	"netip.Addr":     netip.IPv6Loopback(),
	"netip.AddrPort": netip.AddrPortFrom(netip.IPv6Loopback(), 1),
	"time.Time":      time.Unix(1, 0),
}

// TestEqualLooksAtEveryField changes each field of each spec alone, so that none
// that is added is forgotten.
func TestEqualLooksAtEveryField(t *testing.T) {
	for _, spec := range []any{PeerStatus{}, Endpoint{}, PeerSpec{}, Member{}, Affiliate{}} {
		if !equal(spec, spec) || equal(spec, struct{}{}) {
			t.Errorf("%T is not equal to itself alone", spec)
		}
		changes(reflect.TypeOf(spec), func(path []int) {
			other := reflect.New(reflect.TypeOf(spec)).Elem()
			set(other.FieldByIndex(path))
			if equal(spec, other.Interface()) {
				t.Errorf("%T is equal without %s", spec, reflect.TypeOf(spec).FieldByIndex(path).Name)
			}
		})
	}
}

// changes calls f for every field that is no struct of ours.
func changes(t reflect.Type, f func(path []int)) {
	for _, field := range reflect.VisibleFields(t) {
		inner := field.Type
		if inner.Kind() == reflect.Struct && (inner.Name() == "KubeSpan" || inner.Name() == "ControlPlane" || inner.Name() == "Affiliate") {
			if !field.Anonymous {
				changes(inner, func(path []int) { f(append(append([]int{}, field.Index...), path...)) })
			}
			continue
		}
		f(field.Index)
	}
}

// set gives a field another value than zero.
func set(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.Array:
		v.Index(0).SetUint(1)
	default:
		other, ok := samples[v.Type().String()]
		if !ok {
			panic("no other value for a " + v.Type().String())
		}
		v.Set(reflect.ValueOf(other))
	}
}
