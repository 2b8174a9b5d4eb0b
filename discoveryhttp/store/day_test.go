package store_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spanmesh/span/discoveryhttp/store"
	"github.com/spanmesh/span/discoveryhttp/store/storetest"
)

// TestADayOfAFile has five machines that publish themselves each quarter of an hour, and one each hour that does so
// for a while. The server is restarted each four hours. Nothing expires that is published, nothing stays that is not,
// and the file does not grow.
func TestADayOfAFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "db")
		b := openBolt(t, path)
		// A file of bbolt doubles from 32 KiB on; ten days fit in 128 KiB, too.
		const ttl, maxFile = 30 * time.Minute, 128 << 10
		publish := func(id string, n int) {
			u := storetest.NewUpdate(id, "1", storetest.Start)
			u.Now, u.TTL, u.Endpoints = time.Now(), ttl, [][]byte{fmt.Appendf(nil, "%d", n%2)}
			if err := b.Update(t.Context(), "c", u); err != nil {
				t.Fatal(err)
			}
		}
		serve := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(15 * time.Second) {
				expire(t, b, time.Now())
			}
		}
		var first store.Stats
		for hour := range 24 {
			for quarter := range 4 {
				for n := range 5 {
					publish(fmt.Sprintf("m%d", n), 4*hour+quarter)
				}
				if quarter == 0 {
					publish(fmt.Sprintf("guest%d", hour), 0)
				}
				if quarter == 1 && hour%4 == 3 {
					if err := b.Close(); err != nil {
						t.Fatal(err)
					}
					time.Sleep(5 * time.Minute)
					b = openBolt(t, path)
				}
				serve(15 * time.Minute)
			}
			list, err := b.List(t.Context(), "c")
			if err != nil {
				t.Fatal(err)
			}
			is := b.Stats()
			is.Written, is.File = time.Time{}, 0
			file, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if hour == 0 {
				first = is
			}
			if is != first || list.Size() == 0 || is.Affiliates != 5 || file.Size() > maxFile {
				t.Errorf("after hour %d: %+v in %d bytes, want %+v in at most %d", hour, is, file.Size(), first, maxFile)
			}
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
}
