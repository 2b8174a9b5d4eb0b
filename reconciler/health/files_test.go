package health

import (
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/spanmesh/span/reconciler/condition"
)

func TestExposedFilesAreNamed(t *testing.T) {
	for name, c := range map[string]struct {
		file          File
		cause, remedy string // "" for no condition
	}{
		"a secret of its owner alone":      {file: File{Path: "/s", Mode: 0o600}},
		"one that its group may change":    {file: File{Path: "/s", Mode: 0o660}},
		"one that all may read":            {File{Path: "/s", Mode: 0o644}, "/s has mode 0644: others may read it", "`chmod 600 /s`; then change the secret"},
		"one that others may change":       {File{Path: "/s", Mode: 0o602}, "others may change it", "`chmod 600 /s`"},
		"one that all may read and change": {File{Path: "/s", Mode: 0o666}, "others may read and change it", "change the secret"},
		"a key that all may read":          {File{Path: "/k", Mode: 0o604, Use: KeyFile}, "/k has mode 0604", "spanctl rotate-key"},
		"a directory of its owner":         {file: File{Path: "/d", Mode: fs.ModeDir | 0o755, Use: Directory}},
		"a directory that all may write":   {File{Path: "/d", Mode: fs.ModeDir | 0o777, Use: Directory}, "others may replace its files", "chmod o-w /d"},
		"a directory like /tmp":            {file: File{Path: "/d", Mode: fs.ModeDir | fs.ModeSticky | 0o777, Use: Directory}},
	} {
		t.Run(name, func(t *testing.T) {
			found := Assess(start, Snapshot{Known: Known{Files: []File{c.file}}}, nil)
			if c.cause == "" {
				if len(found) != 0 {
					t.Errorf("got %+v", found)
				}
				return
			}
			if len(found) != 1 || found[0].Code != condition.FilesReadable || found[0].Subject != c.file.Path ||
				!strings.Contains(found[0].Cause, c.cause) || !strings.Contains(found[0].Remedy, c.remedy) {
				t.Errorf("got %+v", found)
			}
		})
	}
}

func TestExposedFilesOfADirectoryAreOne(t *testing.T) {
	s := Snapshot{Known: Known{Files: []File{{Path: "/h/1", Mode: 0o644}, {Path: "/h/2", Mode: 0o600}, {Path: "/h/3", Mode: 0o644},
		{Path: "/h/key", Mode: 0o644, Use: KeyFile}, {Path: "/etc/m.cue", Mode: 0o644},
		{Path: "/h/history", Mode: fs.ModeDir | 0o777, Use: Directory}}}}
	found := Assess(start, s, nil)
	if len(found) != 4 || found[2].Remedy != "`chmod o-w /h/history`" || found[0].Subject != "/etc/m.cue" || found[1].Cause != "/h/1 has mode 0644: others may read it, and 1 more there" ||
		!strings.HasPrefix(found[1].Remedy, "`chmod 600 /h/1 /h/3`; then change the secret") || found[3].Subject != "/h/key" {
		t.Errorf("got %+v", found)
	}
}

// TestOneReadSecretIsToBeChanged has the first file changed by others alone, and the second one read.
func TestOneReadSecretIsToBeChanged(t *testing.T) {
	found := JudgeFiles([]File{{Path: "/h/1", Mode: 0o602}, {Path: "/h/2", Mode: 0o604}})
	if len(found) != 1 || !strings.Contains(found[0].Cause, "others may change it, and 1 more") || !strings.HasPrefix(found[0].Remedy, "`chmod 600 /h/1 /h/2`; then change the secret") {
		t.Errorf("got %+v", found)
	}
}

func TestUnwritableStateIsNamedOnce(t *testing.T) {
	why := Unwritable("/var/lib/spanctl", syscall.EROFS)
	s := Snapshot{Failure: &Failure{Err: &condition.Error{Condition: why}, Times: 1},
		Known: Known{Disk: Disk{Path: "/var/lib/spanctl", Refusal: syscall.EROFS}}}
	if found := Assess(start, s, nil); len(found) != 1 || found[0].Condition != why {
		t.Errorf("got %+v", found)
	}
	s.Failure, s.Disk.Refusal = nil, 0
	if found := Assess(start, s, nil); len(found) != 0 {
		t.Errorf("when it can be written, there is %+v", found)
	}
	for _, why := range []syscall.Errno{syscall.EROFS, syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EACCES, syscall.ENOENT} {
		if c := Unwritable("/s", why); c.Remedy == "" || !strings.Contains(c.Cause, "/s") {
			t.Errorf("%v: got %+v", why, c)
		}
	}
}
