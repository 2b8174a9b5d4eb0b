package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
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

// What other machines say is shown as text: nothing makes elements of it, and nothing needs styles
// that the policy of the pages forbids.
func TestNothingIsMarkup(t *testing.T) {
	forbidden := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|dangerouslySetInnerHTML|document\.write|\beval\(|new Function|DOMParser|\sstyle="|javascript:`)
	for _, file := range sources(t, ".js") {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if found := forbidden.Find(content); found != nil {
			t.Errorf("%s has %s", file, found)
		}
	}
}

// sources returns the files of components and pages whose names end so.
func sources(t *testing.T, ending string) []string {
	t.Helper()
	directories := []string{"components"}
	for _, p := range pages {
		directories = append(directories, filepath.Join(root, p.source))
	}
	var files []string
	for _, directory := range directories {
		err := filepath.WalkDir(directory, func(path string, _ fs.DirEntry, err error) error {
			if strings.HasSuffix(path, ending) {
				files = append(files, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(files) == 0 {
		t.Fatalf("no file ends in %s", ending)
	}
	return files
}

// TestLogic runs the tests of the pages' pure modules, NAME_test.js, in an interpreter.
func TestLogic(t *testing.T) {
	for _, file := range sources(t, "_test.js") {
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
