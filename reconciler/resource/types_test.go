package resource

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// samples are nonzero values of types with unexported fields.
var samples = map[string]any{
	"resource.Percent": PercentOf(1),
	"netip.Addr":       netip.IPv6Loopback(),
	"netip.AddrPort":   netip.AddrPortFrom(netip.IPv6Loopback(), 1),
	"time.Time":        time.Unix(1, 0),
}

// TestEqualComparesEveryField changes each field alone of each spec with an Equal method, so
// that no new field is forgotten.
func TestEqualComparesEveryField(t *testing.T) {
	for _, typ := range Types {
		spec := typ.sample
		if _, has := spec.(interface{ Equal(other any) bool }); !has {
			continue
		}
		if !equal(spec, spec) || equal(spec, struct{}{}) {
			t.Errorf("%T is not equal to itself only", spec)
		}
		changes(reflect.TypeOf(spec), func(path []int) {
			other := reflect.New(reflect.TypeOf(spec)).Elem()
			if embedded := other.FieldByIndex(path[:1]); len(path) > 1 && embedded.Kind() == reflect.Pointer {
				embedded.Set(reflect.New(embedded.Type().Elem()))
			}
			set(other.FieldByIndex(path))
			if equal(spec, other.Interface()) {
				t.Errorf("%T is equal although %s differs", spec, reflect.TypeOf(spec).FieldByIndex(path).Name)
			}
		})
	}
}

// TestRowsHaveACellForEveryHeading formats an empty spec of each type.
func TestRowsHaveACellForEveryHeading(t *testing.T) {
	for _, typ := range Types {
		if row := typ.Row(time.Unix(1, 0), Resource{Type: typ, Spec: typ.sample}); len(row) != len(typ.Headings()) {
			t.Errorf("%s: the row %v has not a cell for each of %v", typ.Name, row, typ.Headings())
		}
	}
}

// TestWideColumnsOfWays has what `get -o wide` shows of relays and endpoints.
func TestWideColumnsOfWays(t *testing.T) {
	one, two := netip.MustParseAddrPort("203.0.113.9:51820"), netip.MustParseAddrPort("10.0.0.7:51820")
	many := Path{Candidates: make([]PathCandidate, maxShown+2)}
	for _, c := range []struct {
		typ     *Type
		heading string
		spec    any
		want    string
	}{
		{PeerStatuses, "RELAY", PeerStatus{Relay: "db1"}, "db1"},
		{PeerStatuses, "RELAY", PeerStatus{BlindRelay: "hub"}, "hub"},
		{PeerStatuses, "RELAY", PeerStatus{}, ""},
		{Paths, "CANDIDATES", Path{Candidates: []PathCandidate{{Endpoint: one, Outcome: CandidateSilent}, {Endpoint: two, Outcome: "not tried", Why: "both NATs"}}},
			"203.0.113.9:51820 no answer, 10.0.0.7:51820 not tried (both NATs)"},
		{Paths, "CANDIDATES", Path{}, ""},
		{HealthStates, "OFFERED RELAY", HealthState{OfferedRelay: "UDP 51821"}, "UDP 51821"},
	} {
		i := slices.IndexFunc(c.typ.columns, func(x column) bool { return x.heading == c.heading })
		if got := c.typ.columns[i].cell(time.Unix(1, 0), c.spec); got != c.want || !c.typ.columns[i].wide {
			t.Errorf("%s of %+v: %q, want %q", c.heading, c.spec, got, c.want)
		}
	}
	if got := many.outcomes(); !strings.HasSuffix(got, ", 2 more") {
		t.Errorf("many candidates: %q", got)
	}
}

// changes calls f with the path of every field, and with those of fields inside our own structs.
func changes(t reflect.Type, f func(path []int)) {
	for _, field := range reflect.VisibleFields(t) {
		inner := pointee(field.Type)
		if inner.Kind() == reflect.Struct && (inner.Name() == "KubeSpan" || inner.Name() == "ControlPlane" || inner.Name() == "RelayOffer" || inner.Name() == "Affiliate") {
			if !field.Anonymous {
				changes(inner, func(path []int) { f(append(append([]int{}, field.Index...), path...)) })
			}
			continue
		}
		f(field.Index)
	}
}

// set gives a field a nonzero value.
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
			panic("no nonzero value for a " + v.Type().String())
		}
		v.Set(reflect.ValueOf(other))
	}
}
