package schema

import (
	"encoding"
	"encoding/json"
	"iter"
	"reflect"
	"strconv"
	"strings"
)

// Secrets returns the secrets of the config by their paths, such as "cluster.secret" and
// "cluster.discovery.registries.static.peers[0].presharedKey". The fields of type Secret are
// those that machine.cue marks with @secret.
func (c *Config) Secrets() iter.Seq2[string, *Secret] {
	return func(yield func(string, *Secret) bool) { walkSecrets("", reflect.ValueOf(c).Elem(), yield) }
}

func walkSecrets(path string, v reflect.Value, yield func(string, *Secret) bool) bool {
	if secret, ok := v.Addr().Interface().(*Secret); ok {
		return yield(path, secret)
	}
	if isScalar(v) {
		return true
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if !walkSecrets(strings.TrimPrefix(path+"."+jsonName(v, i), "."), v.Field(i), yield) {
				return false
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			if !walkSecrets(path+"["+strconv.Itoa(i)+"]", v.Index(i), yield) {
				return false
			}
		}
	}
	return true
}

// Revealed returns the config for encoding/json, with the texts of its secrets.
func (c *Config) Revealed() any { return reveal(reflect.ValueOf(c).Elem()) }

func reveal(v reflect.Value) any {
	if hidden, ok := v.Interface().(interface{ revealed() any }); ok {
		return hidden.revealed()
	}
	if isScalar(v) {
		return v.Interface()
	}
	switch v.Kind() {
	case reflect.Struct:
		out := map[string]any{}
		for i := range v.NumField() {
			if v.Field(i).Kind() == reflect.Pointer && v.Field(i).IsNil() {
				continue // it is not in the config
			}
			out[jsonName(v, i)] = reveal(v.Field(i))
		}
		return out
	case reflect.Slice:
		out := make([]any, v.Len())
		for i := range out {
			out[i] = reveal(v.Index(i))
		}
		return out
	default:
		return v.Interface()
	}
}

// isScalar reports whether a value has a form of its own in JSON, such as an address.
func isScalar(v reflect.Value) bool {
	switch v.Interface().(type) {
	case json.Marshaler, encoding.TextMarshaler:
		return true
	default:
		return false
	}
}

// jsonName returns the name that a field of a struct has in JSON.
func jsonName(v reflect.Value, field int) string {
	name, _, _ := strings.Cut(v.Type().Field(field).Tag.Get("json"), ",")
	return name
}
