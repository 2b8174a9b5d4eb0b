package discoveryhttp_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spanmesh/span/discoveryhttp"
)

// TestAnHourWithoutDiscoveryIsQuiet has the real client try a service that nobody serves.
func TestAnHourWithoutDiscoveryIsQuiet(t *testing.T) {
	for _, protocol := range []discoveryhttp.Protocol{discoveryhttp.Auto, discoveryhttp.GRPC} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(t, nil)
			f.protocol = protocol
			f.stop()
			m := f.run(t)
			m.Publish(local("a"))
			wait(time.Hour)
			failures := uint64(0)
			for _, n := range m.Sessions()[0].Failures {
				failures += n
			}
			lines := strings.Count(m.log.String(), "\n")
			if failures < 100 || lines == 0 || lines > 10 {
				t.Errorf("by %s, %d lines of %d failures:\n%s", protocol, lines, failures, m.log)
			}
		})
	}
}
