// Package configfile reads, replaces and watches the machine config on disk.
//
// A File has one path, such as /etc/spanctl/machine.cue. A config in another format
// is beside it with the ending of that format, for example machine.yaml. There is
// one of them at a time: several are an error that names them, and none is removed. A
// config that one in another format replaces is kept, with ".bak" after its name.
//
// Editors and configuration management replace files by renaming, and directories by switching
// links; others write the file in place. Watch watches every directory and link on the way to
// the file, and the file, and looks from time to time where no event comes.
package configfile
