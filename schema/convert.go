package schema

import (
	"bytes"
	"encoding/json"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/cuecontext"
	"cuelang.org/go/encoding/yaml"
)

func toYAML(source []byte) ([]byte, error) {
	v := cuecontext.New().CompileBytes(source)
	if err := v.Err(); err != nil {
		return nil, err
	}
	return yaml.Encode(v)
}

func toJSON(source []byte) ([]byte, error) {
	v := cuecontext.New().CompileBytes(source)
	if err := v.Validate(cue.Concrete(true)); err != nil {
		return nil, err
	}
	compact, err := v.MarshalJSON()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, compact, "", "  "); err != nil {
		return nil, err
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}
