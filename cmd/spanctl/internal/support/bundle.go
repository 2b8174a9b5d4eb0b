package support

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

const (
	// fileTimeout and bundleTimeout are how long the reading of one file and of all may take.
	fileTimeout   = 10 * time.Second
	bundleTimeout = 45 * time.Second
	// maxFile and maxBundle bound the size of a file and of all, in bytes.
	maxFile   = 8 << 20
	maxBundle = 32 << 20
)

// File is a file of a bundle.
type File struct {
	// Name is its path in the archive. Its ending is ".json" or ".jsonl" for JSON.
	Name string
	// About says on one line what it is.
	About string
	// Read reads it. What it returns beside an error is kept.
	Read func(context.Context) ([]byte, error)
}

func (f File) isJSON() bool {
	return strings.HasSuffix(f.Name, ".json") || strings.HasSuffix(f.Name, ".jsonl")
}

// Bundle is what has been read.
type Bundle struct {
	files  []File
	texts  [][]byte
	errors []error
}

// Read reads files at the same time. It returns after 45 seconds at the latest: what is not read by
// then is missing, and the bundle says why.
func Read(ctx context.Context, files []File) *Bundle {
	ctx, cancel := context.WithTimeout(ctx, bundleTimeout)
	defer cancel()
	b := &Bundle{files: files, texts: make([][]byte, len(files)), errors: make([]error, len(files))}
	var group sync.WaitGroup
	for i, f := range files {
		group.Go(func() { b.texts[i], b.errors[i] = readWithin(ctx, f) })
	}
	group.Wait()
	total := 0
	for i, text := range b.texts {
		if total += len(text); total > maxBundle {
			total -= len(text)
			b.texts[i], b.errors[i] = nil, fmt.Errorf("left out: the files before it have %d MiB", maxBundle>>20)
		}
	}
	return b
}

// readWithin reads a file within fileTimeout. A reader that does not end is left behind.
func readWithin(ctx context.Context, f File) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fileTimeout)
	defer cancel()
	type outcome struct {
		text []byte
		err  error
	}
	done := make(chan outcome, 1)
	go func() {
		text, err := f.Read(ctx)
		done <- outcome{text, err}
	}()
	select {
	case o := <-done:
		if len(o.text) > maxFile {
			// In whole lines: half a secret would not be known as one.
			cut := bytes.LastIndexByte(o.text[:maxFile], '\n') + 1
			return o.text[:cut], errors.Join(o.err, fmt.Errorf("cut off after %d MiB of %d bytes", maxFile>>20, len(o.text)))
		}
		return o.text, o.err
	case <-ctx.Done():
		return nil, fmt.Errorf("not read within %v", fileTimeout)
	}
}

// Learn adds what the files say to facts.
func (b *Bundle) Learn(facts *Facts) {
	for i, f := range b.files {
		switch {
		case strings.HasSuffix(f.Name, ".jsonl"):
			for line := range bytes.Lines(b.texts[i]) {
				facts.Learn(line)
			}
		case f.isJSON():
			facts.Learn(b.texts[i])
		}
	}
}

// Write writes the archive, with the files as the scrubber rewrites them, and a README. It returns
// the names of the files that are missing or incomplete.
func (b *Bundle) Write(out io.Writer, s *Scrubber, now time.Time) (missing []string, err error) {
	archive := zip.NewWriter(out)
	add := func(name string, text []byte) error {
		w, err := archive.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: now})
		if err == nil {
			_, err = w.Write(text)
		}
		return err
	}
	var readme strings.Builder
	fmt.Fprintf(&readme, readmeHead, now.UTC().Format(time.RFC3339), s.mode, modeText[s.mode])
	for i, f := range b.files {
		text := b.texts[i]
		if f.isJSON() {
			text = s.JSON(text)
		} else {
			text = []byte(s.Text(string(text)))
		}
		fmt.Fprintf(&readme, "%s\n    %s\n", f.Name, f.About)
		if b.errors[i] != nil {
			missing = append(missing, f.Name)
			fmt.Fprintf(&readme, "    NOT COMPLETE: %s\n", strings.ReplaceAll(s.Text(b.errors[i].Error()), "\n", "; "))
		}
		if len(text) == 0 {
			continue
		}
		if err := add(f.Name, text); err != nil {
			return nil, err
		}
	}
	if err := add("README.txt", []byte(readme.String())); err != nil {
		return nil, err
	}
	return missing, archive.Close()
}

const readmeHead = `A support bundle of spanctl, made at %s.

Secrets are "(hidden)": those that the machine's config has, and all that looks like one.
Mode %s: %s
A placeholder stands for the same text in every file. Nothing here says for which.

Files
=====

`

// modeText says what a mode replaces.
var modeText = map[Mode]string{
	Default: `names of machines (name-1), public addresses (public-1), unique local and link-local
addresses (ula-1, linklocal-1), public keys (key-1), IDs of machines and clusters (id-1) and MACs
(mac-1) are replaced. Private addresses are not.`,
	Strict: `names of machines (name-1), of links (link-1) and of users in paths (user-1), all addresses
but loopback (public-1, private-1, ula-1, linklocal-1), public keys (key-1), IDs (id-1) and MACs (mac-1)
are replaced.`,
	None: `nothing else is replaced. Names, addresses, public keys, IDs and MACs are in the files.`,
}
