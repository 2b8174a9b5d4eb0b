package evaluate_test

import (
	"context"
	"crypto/rand"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/cmd/spanctl/internal/evaluate"
	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/generate"
	"github.com/spanmesh/span/schema/talos"
)

// TestTalosSame compares what a child makes of Talos configs with what is made here.
func TestTalosSame(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"version: v1alpha1\nmachine: {network: {kubespan: {enabled: yes}}, type: worker}\ncluster: {id: x, secret: BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=, discovery: {enabled: true}}\n",
		"version: v1alpha1\nmachine: {}\n", "machine: {network: {kubespan: true}}\n", "x: [", "",
	} {
		file := schema.Source{Name: "worker.yaml", Data: []byte(text)}
		want, wantErr := talos.Import(file, talos.Options{Name: "machine.yaml", Enable: true, NewSecrets: rand.Reader})
		got, err := (&evaluate.Evaluator{}).Talos(t.Context(), file, evaluate.TalosOptions{Name: "machine.yaml", Enable: true, NewSecrets: true})
		switch {
		case !reflect.DeepEqual(err, wantErr):
			t.Errorf("%q: the child's error is %#v, want %#v", text, err, wantErr)
		case err != nil:
		case !reflect.DeepEqual(got.Notes, want.Notes) || !reflect.DeepEqual(got.Left, want.Left):
			t.Errorf("%q: the child's result is %+v, want %+v", text, got, want)
		case strings.Contains(text, "id: x") && string(got.Data) != string(want.Data): // others have new secrets
			t.Errorf("%q: the child's config is %s, want %s", text, got.Data, want.Data)
		case len(got.Data) != len(want.Data):
			t.Errorf("%q: the child's config has %d bytes, want %d", text, len(got.Data), len(want.Data))
		}
	}
}

// TestSecretsSame compares the secrets that a child reads with those that were written.
func TestSecretsSame(t *testing.T) {
	t.Parallel()
	want, err := generate.NewSecrets(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	data, err := generate.EncodeSecrets("secrets.cue", want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := (&evaluate.Evaluator{}).Secrets(t.Context(), schema.Source{Name: "secrets.cue", Data: data})
	if err != nil || got.ID != want.ID || got.Secret.Reveal() != want.Secret.Reveal() {
		t.Errorf("the child's secrets are %+v, %v", got, err)
	}
	_, err = (&evaluate.Evaluator{}).Secrets(t.Context(), schema.Source{Name: "secrets.cue"})
	if problems := (schema.Problems{}); !errors.As(err, &problems) {
		t.Errorf("the error of an empty file is %v", err)
	}
}

// TestLimitsOfKinds gives texts that take too much to whatever reads the texts of others.
func TestLimitsOfKinds(t *testing.T) {
	t.Parallel()
	var keys strings.Builder // each is compared with all others
	keys.WriteString("machine:\n")
	for i := range 150_000 {
		keys.WriteString("  k" + strconv.Itoa(i) + ": 1\n")
	}
	sum := "x: " + strings.Repeat("1+", 1<<20) + "1\n{"
	limits := evaluate.Limits{Time: time.Second, Wait: 5 * time.Minute, Memory: 160 << 20}
	e := &evaluate.Evaluator{Limits: limits}
	for name, c := range map[string]struct {
		text string
		do   func(context.Context, schema.Source) error
	}{
		"a Talos config with many fields": {keys.String(), func(ctx context.Context, file schema.Source) error {
			_, err := e.Talos(ctx, file, evaluate.TalosOptions{Name: "m.cue"})
			return err
		}},
		"secrets with many fields": {keys.String(), func(ctx context.Context, file schema.Source) error {
			_, err := e.Secrets(ctx, file)
			return err
		}},
		"a long sum": {sum, func(ctx context.Context, file schema.Source) error {
			_, err := e.Format(ctx, file)
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := c.do(t.Context(), schema.Source{Name: "hostile.yaml", Data: []byte(c.text)})
			if err == nil || !strings.Contains(err.Error(), "hostile.yaml: takes more than ") {
				t.Errorf("the error is %.300v", err)
			}
		})
	}
}
