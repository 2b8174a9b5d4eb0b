package agent

import (
	"os"
	"testing"
	"time"
)

// TestTrialAfterTheLastGoodConfig takes the mesh down, removes the file or spoils it, and starts an
// agent, which brings the mesh up with the last good config. A trial then ends with that config, and
// not with a mesh that is down.
func TestTrialAfterTheLastGoodConfig(t *testing.T) {
	for name, left := range map[string]string{"no file": "", "not valid": "no config\n"} {
		t.Run(name, func(t *testing.T) {
			ctx, w := t.Context(), newWorld(t.TempDir())
			command := w.process(false)
			if _, err := command.apply(ctx, change{name: "new.cue", data: textOf(1)}); err != nil {
				t.Fatal(err)
			}
			if _, err := command.takeDown(ctx); err != nil || w.mesh != none {
				t.Fatalf("down: %v; %d is in force", err, w.mesh)
			}
			path := command.file.Path()
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if left != "" {
				if err := os.WriteFile(path, []byte(left), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			agent := w.process(true)
			agent.start(ctx)
			if w.mesh != 1 {
				t.Fatalf("a start puts %d in force", w.mesh)
			}
			_ = os.Remove(path) // a trial does not replace what was never in force
			if _, err := agent.try(ctx, change{name: "new.cue", data: textOf(2)}, time.Second); err != nil || w.mesh != 2 {
				t.Fatalf("try: %v; %d is in force", err, w.mesh)
			}
			w.now.Up += 2 * time.Second
			if over, _ := agent.look(ctx, &agent.waiting); !over || w.mesh != 1 {
				t.Errorf("the trial is over: %t; after it %d is in force", over, w.mesh)
			}
		})
	}
}
