// Command image makes an OCI image of a static binary and the certificates of the public
// authorities, without Docker.
//
//	image -binary bin/spanctl -version v1.0.0 -time 1700000000 -o .cache/packages/spanctl.tar
package main

import (
	"archive/tar"
	"bytes"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

func main() {
	binary := flag.String("binary", "bin/spanctl", "the static binary")
	arch := flag.String("arch", runtime.GOARCH, "its architecture")
	version := flag.String("version", "unknown", "the version, for the image's name and labels")
	seconds := flag.Int64("time", 0, "when the image was made, in seconds since 1970")
	out := flag.String("o", "spanctl.tar", "where to write the image")
	flag.Parse()
	if err := run(*binary, *arch, *version, time.Unix(*seconds, 0).UTC(), *out); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(binary, arch, version string, made time.Time, out string) error {
	image, err := build(binary, arch, version, made)
	if err != nil {
		return err
	}
	tag, err := name.NewTag("spanctl:" + version)
	if err != nil {
		return err
	}
	if err := tarball.WriteToFile(out, tag, image); err != nil {
		return err
	}
	digest, err := image.Digest()
	fmt.Println(tag, digest, "in", out)
	return err
}

func build(binary, arch, version string, made time.Time) (v1.Image, error) {
	data, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	content, err := layerOf([]file{
		{"etc/ssl/certs/ca-certificates.crt", 0o644, authorities()},
		{"usr/bin/spanctl", 0o755, data},
	}, made)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil },
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	if image, err = mutate.Append(image, mutate.Addendum{
		Layer: layer, History: v1.History{Created: v1.Time{Time: made}, CreatedBy: "make packages"},
	}); err != nil {
		return nil, err
	}
	if image, err = mutate.ConfigFile(image, configOf(image, arch, version)); err != nil {
		return nil, err
	}
	return mutate.CreatedAt(image, v1.Time{Time: made})
}

// configOf returns the image's config with what the layer does not set.
func configOf(image v1.Image, arch, version string) *v1.ConfigFile {
	config, err := image.ConfigFile()
	if err != nil {
		config = &v1.ConfigFile{}
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", arch
	config.Config = v1.Config{
		Entrypoint: []string{"/usr/bin/spanctl"},
		Cmd:        []string{"run"},
		Env:        []string{"PATH=/usr/bin"},
		WorkingDir: "/",
		Labels: map[string]string{
			"org.opencontainers.image.title":    "spanctl",
			"org.opencontainers.image.version":  version,
			"org.opencontainers.image.source":   "https://github.com/spanmesh/span",
			"org.opencontainers.image.licenses": "Apache-2.0",
		},
	}
	return config
}

// file is a file of the image.
type file struct {
	name    string
	mode    int64
	content []byte
}

// authorities returns the certificates of Mozilla's list, as PEM. Those that Mozilla trusts with
// further constraints are left out: a PEM file has no place for them.
func authorities() []byte {
	var b bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate})
		}
	}
	return b.Bytes()
}

// layerOf returns a file system with files and spanctl's directories, as a reproducible tar.
func layerOf(files []file, made time.Time) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, dir := range []struct {
		name string
		mode int64
	}{{"etc/", 0o755}, {"etc/spanctl/", 0o700}, {"etc/ssl/", 0o755}, {"etc/ssl/certs/", 0o755}, {"run/", 0o755}, {"run/spanctl/", 0o755}, {"tmp/", 0o1777}, {"usr/", 0o755}, {"usr/bin/", 0o755}, {"var/", 0o755}, {"var/lib/", 0o755}, {"var/lib/spanctl/", 0o700}} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir.name, Mode: dir.mode, ModTime: made}); err != nil {
			return nil, err
		}
	}
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: f.mode, Size: int64(len(f.content)), ModTime: made}); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
