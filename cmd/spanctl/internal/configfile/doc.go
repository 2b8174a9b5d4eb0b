// Package configfile reads, replaces and watches the machine config on disk.
//
// A File has one path, such as /etc/spanctl/machine.cue. A config in another format
// is beside it with the ending of that format, for example machine.yaml. There is
// one of them at a time.
//
// Editors and configuration management replace files by renaming, so Watch watches
// directories, not files.
package configfile
