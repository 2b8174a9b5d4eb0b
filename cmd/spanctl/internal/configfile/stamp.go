package configfile

import (
	"os"
	"syscall"
)

// stamp changes when a file is written or replaced, on file systems that keep good time.
type stamp struct {
	path         string
	dev, ino     uint64
	size         int64
	mtime, ctime syscall.Timespec
	err          string
}

// stamp returns the stamp of the config; that of an error if there is none.
func (f File) stamp() (s stamp) {
	for _, path := range f.variants() {
		info, err := os.Stat(path)
		if err != nil {
			s.err += err.Error()
			continue
		}
		if s.path != "" {
			s.err += path // several are an error
			continue
		}
		s.path, s.size = path, info.Size()
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			s.dev, s.ino, s.mtime, s.ctime = stat.Dev, stat.Ino, stat.Mtim, stat.Ctim
		}
	}
	return s
}
