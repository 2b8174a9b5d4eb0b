package discovery_test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/spanmesh/span/e2e/internal/harness"
)

// TestDamagedStore cuts the file of a stopped server. The next start says what is wrong and what
// to do, and the way out that it names works.
func TestDamagedStore(t *testing.T) {
	t.Parallel()
	m := harness.NewMesh(t, 0)
	path := filepath.Join(m.Discovery.Dir, "d.db")
	store := "bolt:" + path
	m.Serve("--store", store)
	m.Call("AffiliateUpdate", `{"clusterId":"c","affiliateId":"a","affiliateData":"AAEC","ttl":"600s"}`).WantBody(t, http.StatusOK, "")
	m.Server.Kill()
	m.Serve("--store", store)
	m.Call("List", `{"clusterId":"c"}`).WantBody(t, http.StatusOK, `"id":"a"`)
	m.Server.Kill()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, info.Size()/2); err != nil {
		t.Fatal(err)
	}
	serve := []string{"discovery", "serve", "--listen", ":" + harness.DiscoveryPort, "--insecure", "--store", store}
	m.Discovery.CLI.Try(serve...).WantStatus(t, 1).
		WantStderr(t, path+" is damaged", "cut short", "--store-reset").WantNoStderr(t, "goroutine ")
	m.Serve("--store", store, "--store-reset")
	m.Call("List", `{"clusterId":"c"}`).WantBody(t, http.StatusOK, "{}")
	files, err := filepath.Glob(path + ".2*")
	if err != nil || len(files) != 1 {
		t.Errorf("moved aside: %v, %v", files, err)
	}
}
