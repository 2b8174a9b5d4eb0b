package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dop251/goja"
	"github.com/evanw/esbuild/pkg/api"
)

const root = "../.."

func TestLibrariesAreThoseOfNpm(t *testing.T) {
	all, err := libraries(root)
	if err != nil {
		t.Fatal(err)
	}
	directories, err := filepath.Glob("libraries/*/LICENSE")
	if err != nil {
		t.Fatal(err)
	}
	if len(directories) != len(all) {
		t.Errorf("%d libraries are listed, and %d are there", len(all), len(directories))
	}
}

func TestChangedLibraryIsRefused(t *testing.T) {
	directory := t.TempDir()
	if err := os.WriteFile(filepath.Join(directory, "a.js"), []byte("changed"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := library{Name: "a", Version: "1", Files: map[string]string{"a.js": "00"}}.check(directory)
	if err == nil || !strings.Contains(err.Error(), "a/a.js is not that of a 1") {
		t.Errorf("got %v", err)
	}
}

// TestLogic runs the tests of the pages' pure modules, NAME_test.js, in an interpreter.
func TestLogic(t *testing.T) {
	var files []string
	directories := []string{"components"}
	for _, p := range pages {
		directories = append(directories, filepath.Join(root, p.source))
	}
	for _, directory := range directories {
		err := filepath.WalkDir(directory, func(path string, _ fs.DirEntry, err error) error {
			if strings.HasSuffix(path, "_test.js") {
				files = append(files, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(files) == 0 {
		t.Fatal("there are no tests")
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) { runTests(t, file) })
	}
}

// runTests runs a file that calls test(name, function) and equal(got, want).
func runTests(t *testing.T, file string) {
	options, err := settings(root)
	if err != nil {
		t.Fatal(err)
	}
	options.EntryPoints = []string{file}
	options.Format, options.Target = api.FormatIIFE, api.ES2017
	result := api.Build(options)
	if err := failure(result.Errors, result.Warnings); err != nil {
		t.Fatal(err)
	}
	vm := goja.New()
	set := func(name string, value any) {
		if err := vm.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	set("test", func(name string, run goja.Callable) {
		t.Run(name, func(t *testing.T) {
			set("fail", func(text string) { t.Error(text) })
			if _, err := run(nil); err != nil {
				t.Error(thrown(err))
			}
		})
	})
	if _, err := vm.RunString(equal); err != nil {
		t.Fatal(err)
	}
	if _, err := vm.RunString(string(result.OutputFiles[0].Contents)); err != nil {
		t.Fatal(thrown(err))
	}
}

const equal = `function equal(got, want) {
	const a = JSON.stringify(got), b = JSON.stringify(want);
	if (a !== b) fail("got " + a + ", want " + b);
}`

func thrown(err error) string {
	var exception *goja.Exception
	if errors.As(err, &exception) {
		return exception.String()
	}
	return err.Error()
}
