// Package configfile is the machine config on disk: where it is, how it is
// replaced, and how changes are noticed.
//
// A File is named by one path, such as /etc/spanctl/machine.cue. A config in
// another format lies beside it under the ending of that format, for example
// machine.yaml; there is one of them at a time.
//
// Editors and configuration management replace files by renaming, so Watch
// follows directories, never a file.
package configfile
