package resource

import (
	"reflect"
	"strings"
)

// Field describes a field of a spec, as `spanctl get -o yaml` shows it.
type Field struct {
	// Name is the name in JSON.
	Name string `json:"name"`
	// Type is "string", "number", "bool", "object", or a list of them such as "[]string".
	Type string `json:"type"`
	// Description is a sentence for operators.
	Description string `json:"description,omitempty"`
	// Fields are those of an object.
	Fields []Field `json:"fields,omitempty"`
}

// Description says what the resources are.
func (t *Type) Description() string { return docs[t.Name] }

// Fields describes the spec. That of MachineConfigs is the machine config, which package
// schema/reference describes.
func (t *Type) Fields() []Field {
	if t == MachineConfigs {
		return nil
	}
	return fieldsOf(reflect.TypeOf(t.sample))
}

func fieldsOf(t reflect.Type) (fields []Field) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous:
			fields = append(fields, fieldsOf(pointee(f.Type))...)
		case name != "-" && name != "":
			one := Field{Name: name, Description: docs[t.String()+"."+f.Name]}
			one.Type, one.Fields = typeOf(f.Type)
			fields = append(fields, one)
		}
	}
	return fields
}

// pointee returns what a type points to, or the type itself if it is no pointer.
func pointee(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}

// typeOf returns the type of a value in JSON, and the fields of an object.
func typeOf(t reflect.Type) (string, []Field) {
	text := reflect.TypeFor[interface{ MarshalText() ([]byte, error) }]()
	switch {
	case t.Implements(text), t.Kind() == reflect.String:
		return "string", nil
	case t.Kind() == reflect.Slice:
		item, fields := typeOf(t.Elem())
		return "[]" + item, fields
	case t.Kind() == reflect.Struct:
		return "object", fieldsOf(t)
	case t.Kind() == reflect.Bool:
		return "bool", nil
	default:
		return "number", nil
	}
}
