package health

import (
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler/condition"
)

func TestJudgeMTU(t *testing.T) {
	s := Snapshot{PathMTUs: []PathMTU{{"whole", 1420, 1420}, {"db1", 1420, 1392}, {"db2", 1280, 0}}}
	found := judgeMTU(time.Unix(1, 0), &s)
	want := []condition.Condition{
		{Code: condition.MTUBlackHole, Subject: "db1", Cause: "1420 bytes to db1 are lost, 1392 pass",
			Remedy: "set machine.network.kubespan.mtu: 1392 here and at db1"},
		{Code: condition.MTUBlackHole, Subject: "db2", Cause: "1280 bytes to db2 are lost, and so are 1280, the least that IPv6 allows",
			Remedy: "let the networks on the way pass larger packets of UDP, or their fragments"},
	}
	if len(found) != len(want) || found[0] != want[0] || found[1] != want[1] {
		t.Errorf("found %v, want %v", found, want)
	}
	if found[0].Severity() != condition.SeverityWarning {
		t.Errorf("the severity is %s", found[0].Severity())
	}
}
