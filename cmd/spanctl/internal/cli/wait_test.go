package cli

import "testing"

func TestGoals(t *testing.T) {
	type specs = map[string]map[string]any
	peers := specs{"k1": {"label": "db1", "name": "db1", "nodeID": "node1", "address": "fd00::1", "state": "up"},
		"k2": {"label": "db2", "name": "db2", "state": "down"}, "k3": {"label": "", "name": "k3", "state": "unknown"}}
	twins := specs{"k1": {"label": "vm", "name": "k1", "state": "up"}, "k2": {"label": "VM", "name": "k2", "state": "down"}}
	conditions := specs{"PeerDown/db2": {"code": "PeerDown", "subject": "db2"}, "NoConfig": {"code": "NoConfig"}}
	for _, test := range []struct {
		until   string
		specs   specs
		reached bool
		is      string
	}{
		{"ready", nil, false, ""},
		{"ready", specs{"machine": {"state": "degraded", "ready": true}}, true, ""},
		{"ready", specs{"machine": {"state": "broken", "ready": false}}, false, ""},
		{"healthy", specs{"machine": {"state": "degraded", "ready": true}}, false, ""},
		{"healthy", specs{"machine": {"state": "healthy", "ready": true}}, true, ""},
		{"peers=0", nil, true, "0 of 0 peers up"},
		{"peers=1", peers, true, "1 of 3 peers up; not up: db2, k3"},
		{"peers=2", peers, false, "1 of 3 peers up; not up: db2, k3"},
		{"peer=db1", peers, true, "db1 is up"},
		{"peer=k1", peers, true, "k1 is up"},
		{"peer=DB1", peers, true, "DB1 is up"},
		{"peer=node1", peers, true, "node1 is up"},
		{"peer=fd00:0::1", peers, true, "fd00:0::1 is up"},
		{"peer=fd00::2", peers, false, "fd00::2 is no peer"},
		{"peer=vm", twins, false, "2 peers are called vm: name one by its key"},
		{"peer=k1", twins, true, "k1 is up"},
		{"peers=2", twins, false, "1 of 2 peers up; not up: k2"},
		{"peer=db2", peers, false, "db2 is down"},
		{"peer=db9", peers, false, "db9 is no peer"},
		{"condition=PeerDown", conditions, true, "there is PeerDown db2"},
		{"condition=PeerDown=true", conditions, true, "there is PeerDown db2"},
		{"condition=PeerDown=false", conditions, false, "there is PeerDown db2"},
		{"condition=NoConfig=false", specs{}, true, "there is no NoConfig"},
		{"condition=NoConfig", specs{}, false, "there is no NoConfig"},
	} {
		g, err := goalOf(test.until)
		if err != nil {
			t.Errorf("%s: %v", test.until, err)
			continue
		}
		if reached, is := g.holds(test.specs); reached != test.reached || is != test.is {
			t.Errorf("%s: %v, %q; want %v, %q", test.until, reached, is, test.reached, test.is)
		}
	}
}

func TestWhatIsNoGoal(t *testing.T) {
	for _, until := range []string{"", "ready=1", "peers", "peers=", "peers=-1", "peers=x", "peer=", "condition=", "condition=NoSuch", "condition=NoConfig=maybe", "Healthy"} {
		if _, err := goalOf(until); err == nil {
			t.Errorf("%q is taken", until)
		}
	}
}
