package discovery_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/spanmesh/span/e2e/internal/harness"
)

// hostileCommand is the name of hostileService among the commands of this test program.
const hostileCommand = "hostile-service"

// field returns an encoded field of bytes.
func field(number protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), value)
}

// numbered returns what make returns for the numbers from 0 on, up to a size in bytes.
func numbered(size int, one func(n int) []byte) []byte {
	var all []byte
	for n := 0; len(all) < size; n++ {
		all = append(all, one(n)...)
	}
	return all
}

// hostileMessage is what a hostile service sends as the first messages of a watch, each of them
// as a frame with flags.
type hostileMessage struct {
	flags   byte
	message func() []byte
	// times is how often it is sent.
	times int
}

const mebibyte = 1 << 20

// silence is the name of no message at all.
const silence = "silence"

// hostileMessages are by name.
var hostileMessages = map[string]hostileMessage{
	silence:   {0, func() []byte { return nil }, 0},
	"nothing": {0, func() []byte { return nil }, 1},
	"compressed empty affiliates, 64 KB for 63 MiB": {1, func() []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = w.Write(bytes.Repeat([]byte{0x0a, 0}, 63*mebibyte/2))
		_ = w.Close()
		return b.Bytes()
	}, 1},
	"empty affiliates of 60 MB":                    {0, func() []byte { return bytes.Repeat([]byte{0x0a, 0}, 30_000_000) }, 1},
	"empty affiliates as long as a message may be": {0, func() []byte { return bytes.Repeat([]byte{0x0a, 0}, 3*mebibyte) }, 1},
	"affiliates of one byte":                       {0, func() []byte { return bytes.Repeat(field(1, field(1, []byte("x"))), 6*mebibyte/5) }, 1},
	"32,000 affiliates with IDs alone": {0, func() []byte {
		return numbered(32_000*9, func(n int) []byte { return field(1, field(1, fmt.Appendf(nil, "%05d", n))) })
	}, 1},
	"an affiliate of empty endpoints": {0, func() []byte {
		return field(1, append(field(1, []byte("x")), bytes.Repeat(field(3, nil), 5*mebibyte/2)...))
	}, 1},
	"affiliates of tiny endpoints": {0, func() []byte {
		return numbered(5*mebibyte, func(n int) []byte {
			return field(1, append(field(1, fmt.Appendf(nil, "%05d", n)), bytes.Repeat(field(3, []byte{1}), 1000)...))
		})
	}, 1},
	"affiliates of endpoints of a block": {0, func() []byte {
		return numbered(5*mebibyte, func(n int) []byte {
			return field(1, append(field(1, fmt.Appendf(nil, "%05d", n)), bytes.Repeat(field(3, make([]byte, 16)), 1000)...))
		})
	}, 1},
	"affiliates with long IDs that nobody sealed, in many messages": {0, func() []byte {
		return numbered(5*mebibyte, func(n int) []byte {
			return field(1, append(field(1, fmt.Appendf(nil, "%0256d", n)), field(2, make([]byte, 12))...))
		})
	}, 40},
	"affiliates with IDs of control characters, in many messages": {0, func() []byte {
		return numbered(5*mebibyte, func(n int) []byte { return field(1, field(1, fmt.Appendf(nil, "\x1b%0250d", n))) })
	}, 40},
	"parts of a snapshot without an end": {0, func() []byte {
		return append(numbered(5*mebibyte, func(n int) []byte {
			return field(1, append(field(1, fmt.Appendf(nil, "%0256d", n)), field(2, make([]byte, 60_000))...))
		}),
			protowire.AppendVarint(protowire.AppendTag(nil, 18001, protowire.VarintType), 1)...)
	}, 200},
	"unknown fields":           {0, func() []byte { return bytes.Repeat(field(99, []byte("x")), 5*mebibyte/4) }, 1},
	"groups in groups":         {0, func() []byte { return bytes.Repeat([]byte{0x0b}, 5*mebibyte) }, 1},
	"an end of a stream, long": {0x80, func() []byte { return make([]byte, 60*mebibyte) }, 1},
}

// hungUp is what the hostile service prints when a client has ended a watch.
const hungUp = "the client has hung up"

// hostileService is a discovery service that sends one of hostileMessages to each watch, and then
// a compressed message, after which the client hangs up at the latest.
func hostileService(args []string) error {
	hostile, ok := hostileMessages[args[0]]
	if !ok {
		return fmt.Errorf("there is no message %q", args[0])
	}
	frame := func(flags byte, message []byte) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{flags}, uint32(len(message))), message...)
	}
	answer, last := frame(hostile.flags, hostile.message()), frame(1, nil)
	if hostile.times == 0 {
		last = nil
	}
	watch := func(w http.ResponseWriter, r *http.Request) {
		for range hostile.times {
			if _, err := w.Write(answer); err != nil {
				break
			}
		}
		_, _ = w.Write(last)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		fmt.Println(hungUp)
	}
	s := &http.Server{Protocols: new(http.Protocols), ReadHeaderTimeout: time.Minute}
	s.Protocols.SetUnencryptedHTTP2(true)
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		if path.Base(r.URL.Path) == "Watch" {
			watch(w, r)
		} else {
			_, _ = w.Write(frame(0, nil))
		}
		w.Header().Set("Grpc-Status", "0")
	})
	listener, err := net.Listen("tcp", ":"+harness.DiscoveryPort)
	if err != nil {
		return err
	}
	fmt.Println("hostile service started")
	return s.Serve(listener)
}

// residentPeak returns the most memory of a process that was resident, in bytes.
func residentPeak(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, peak, _ := strings.Cut(string(text), "VmHWM:")
	n, err := strconv.Atoi(strings.Fields(peak)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

// TestHostileServiceDoesNotExhaustTheAgent has an agent watch a service that sends what costs
// more to decode than to send, and in the end what no service sends, or nothing at all.
func TestHostileServiceDoesNotExhaustTheAgent(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a discovery service sends nothing, or what no service does: it is named, and the agent's memory is bounded")
	m := harness.NewMesh(t, 1)
	for name := range hostileMessages {
		t.Run(name, func(t *testing.T) {
			cmd, err := m.Discovery.Subcommand(harness.Context(t), hostileCommand, name)
			if err != nil {
				t.Fatal(err)
			}
			service := harness.StartProcess(t, cmd)
			service.AwaitOutput("hostile service started")
			agent := m.Machines[0].Agent
			agent.Start()
			service.AwaitOutput(hungUp)
			code := "DiscoveryAnswerRefused"
			if name == silence {
				code = "DiscoverySilent"
			}
			m.Machines[0].API.AwaitCondition(code)
			const limit = 64 * mebibyte
			if peak := residentPeak(t, agent.PID()); peak > limit {
				t.Errorf("the agent had %d MiB resident, want at most %d", peak/mebibyte, limit/mebibyte)
			} else {
				t.Logf("the agent had at most %d MiB resident", peak/mebibyte)
			}
			agent.Terminate()
			service.Kill()
		})
	}
}
