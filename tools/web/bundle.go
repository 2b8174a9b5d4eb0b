package main

import (
	"errors"
	"path/filepath"
	"strings"

	"github.com/evanw/esbuild/pkg/api"
)

// The names that pages import libraries and the components they share by.
var imports = map[string]string{
	"preact":       "libraries/preact/preact.mjs",
	"preact/hooks": "libraries/preact/hooks.mjs",
	"htm":          "libraries/htm/htm.mjs",
	"uplot":        "libraries/uplot/uPlot.esm.js",
	"uplot.css":    "libraries/uplot/uPlot.min.css",
	"components":   "components",
}

// bundle returns name.js and name.css of the directory with all that they import, as a browser
// runs them without modules. The same sources give the same bytes anywhere.
func bundle(root, directory, name string) (map[string][]byte, error) {
	options, err := settings(root)
	if err != nil {
		return nil, err
	}
	options.EntryPoints = []string{filepath.Join(directory, name+".js"), filepath.Join(directory, name+".css")}
	options.Outdir = directory
	options.Format = api.FormatIIFE
	options.Target = api.ES2022
	options.Banner = map[string]string{"js": notice, "css": notice}
	options.MinifyWhitespace, options.MinifyIdentifiers, options.MinifySyntax = true, true, true
	result := api.Build(options)
	if err := failure(result.Errors, result.Warnings); err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, f := range result.OutputFiles {
		files[filepath.Base(f.Path)] = f.Contents
	}
	return files, nil
}

// settings are what all bundles have in common.
func settings(root string) (api.BuildOptions, error) {
	tools, err := filepath.Abs(filepath.Join(root, "tools/web"))
	if err != nil {
		return api.BuildOptions{}, err
	}
	alias := map[string]string{}
	for name, path := range imports {
		alias[name] = filepath.Join(tools, path)
	}
	// The licences are in a file of their own.
	return api.BuildOptions{Bundle: true, Alias: alias, LegalComments: api.LegalCommentsNone}, nil
}

// failure returns what esbuild complains about, warnings too, as an error.
func failure(lists ...[]api.Message) error {
	var texts []string
	for i, list := range lists {
		kind := api.ErrorMessage
		if i > 0 {
			kind = api.WarningMessage
		}
		texts = append(texts, api.FormatMessages(list, api.FormatMessagesOptions{Kind: kind})...)
	}
	if len(texts) == 0 {
		return nil
	}
	return errors.New(strings.TrimSpace(strings.Join(texts, "")))
}
