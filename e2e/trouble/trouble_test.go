package trouble_test

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/internal/trouble"
)

var (
	seed   = flag.Uint64("seed", 1, "the number that decides which fault is planted")
	rounds = flag.Uint64("rounds", 3, "how many seeds are tried, from the first on")
	play   = flag.Bool("play", false, "plant one fault, tell nothing of it, and let a person look")
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m, harness.HostOnly, nil)) }

// TestTrouble plants a fault for each seed.
func TestTrouble(t *testing.T) {
	if *play {
		letPlay(t)
		return
	}
	harness.Scenario(t, "a fault that is planted at random is named by `spanctl status`")
	for n := *seed; n < *seed+*rounds; n++ {
		t.Run(fmt.Sprint("seed ", n), func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			choice := trouble.Pick(n)
			scene, sign := trouble.NewScene(t, choice)
			printed, misses := scene.Look(sign)
			verdict := "named"
			if len(misses) > 0 {
				verdict = "MISSED: " + strings.Join(misses, "\n  ")
				t.Fail()
			}
			fmt.Printf("seed %d: %s\n%s# spanctl status   (after %v)\n%s=> %s: %s\n\n", n, choice, scene.Machines[sign.At].Name,
				time.Since(began).Round(time.Second), printed, scene.Code(), verdict)
		})
	}
}

// letPlay plants a fault and runs the commands that a person types.
func letPlay(t *testing.T) {
	scene, sign := trouble.NewScene(t, trouble.Pick(*seed))
	fmt.Printf(`Something is wrong with a mesh of %d machines and a discovery server.
Ask any of them, such as: node-1 spanctl status
"answer" tells what it is, "quit" ends the mesh.
`, trouble.Machines)
	for lines := bufio.NewScanner(os.Stdin); prompt() && lines.Scan(); {
		name, command, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
		switch name {
		case "":
		case "quit":
			return
		case "answer":
			fmt.Printf("%s\nOn %s, `spanctl status` is to name %s.\n", scene.Choice, scene.Machines[sign.At].Name, scene.Code())
		default:
			run(t, scene, name, command)
		}
	}
}

func prompt() bool {
	_, err := fmt.Print("> ")
	return err == nil
}

// run runs a command of the shell on a machine.
func run(t *testing.T, scene *trouble.Scene, name, command string) {
	t.Helper()
	for _, node := range scene.Nodes() {
		if node.Name != name {
			continue
		}
		cmd := node.Command(t.Context(), "sh", "-c", strings.ReplaceAll(" "+command, " spanctl ", " "+scene.Binary+" "))
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			fmt.Println(err)
		}
		return
	}
	fmt.Println("want a machine and a command, such as: node-1 spanctl status")
}
