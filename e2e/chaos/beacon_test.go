package chaos

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/internal/nodecmd"
)

const (
	// beaconPort is the UDP port at which beacons answer.
	beaconPort = 7777
	// commandBeacon is the subcommand of a beacon. Its argument is the canary.
	commandBeacon = "chaos-beacon"
	// streamPause is the time between two canaries of a stream, which go to one address after the other.
	streamPause = 20 * time.Millisecond
	// askPause is the time between two tries to reach an address.
	askPause = 100 * time.Millisecond
)

// beacon is a process in a machine that sends canaries to others and answers theirs. It outlives all
// that happens to the machine, so that a look at who is reached costs no process.
type beacon struct {
	pid  int
	mu   sync.Mutex
	to   io.Writer
	from *bufio.Reader
}

// startBeacon starts the beacon of a machine. The lab ends it.
func startBeacon(machine *harness.Machine, canary string) (*beacon, error) {
	cmd, err := machine.Subcommand(context.Background(), commandBeacon, canary)
	if err != nil {
		return nil, err
	}
	b := &beacon{}
	if b.to, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	b.from = bufio.NewReader(out)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	b.pid = cmd.Process.Pid
	go func(cmd *exec.Cmd) { _ = cmd.Wait() }(cmd)
	line, err := b.from.ReadString('\n')
	if line != nodecmd.Ready {
		return nil, fmt.Errorf("the beacon of %s says %q: %w", machine.Name, line, err)
	}
	return b, nil
}

// ask sends a line and returns the answer.
func (b *beacon) ask(words ...string) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, err := fmt.Fprintln(b.to, strings.Join(words, " ")); err != nil {
		return "", err
	}
	line, err := b.from.ReadString('\n')
	return strings.TrimSpace(line), err
}

// stream sends canaries to addresses, and to no others, from then on. What was sent before may still be on
// its way.
func (b *beacon) stream(to []netip.Addr) error {
	_, err := b.ask(append([]string{"stream"}, texts(to)...)...)
	return err
}

// reach returns the addresses that do not answer canaries within a time.
func (b *beacon) reach(limit time.Duration, to []netip.Addr) (missing []string, err error) {
	line, err := b.ask(append([]string{"reach", limit.String()}, texts(to)...)...)
	return strings.Fields(line), err
}

// say sends a text to an address once.
func (b *beacon) say(to netip.Addr, text string) error {
	_, err := b.ask("say", to.String(), text)
	return err
}

func texts(addresses []netip.Addr) (out []string) {
	for _, a := range addresses {
		out = append(out, a.String())
	}
	return out
}

// sender is what a beacon is inside of the machine.
type sender struct {
	canary string
	conn   *net.UDPConn

	mu      sync.Mutex
	targets []netip.Addr
	// last is the number of the last canary.
	last uint64
	// asked are the addresses by the numbers of canaries that await an answer.
	asked    map[uint64]netip.Addr
	answered chan netip.Addr
}

// runBeacon implements the subcommand. It ends with its standard input.
func runBeacon(args []string) error {
	answers, err := net.ListenUDP("udp", &net.UDPAddr{Port: beaconPort})
	if err != nil {
		return err
	}
	s := &sender{canary: args[0], asked: map[uint64]netip.Addr{}, answered: make(chan netip.Addr, 1000)}
	if s.conn, err = net.ListenUDP("udp", nil); err != nil {
		return errors.Join(err, answers.Close())
	}
	done := make(chan struct{})
	var group errgroup.Group
	group.Go(func() error { return nodecmd.Echo(answers) })
	group.Go(s.receive)
	group.Go(func() error { return s.keepSending(done) })
	fmt.Print(nodecmd.Ready)
	err = s.obey(os.Stdin)
	close(done)
	return errors.Join(err, answers.Close(), s.conn.Close(), group.Wait())
}

// obey does what the lines of in say, and prints a line for each.
func (s *sender) obey(in io.Reader) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		answer, err := s.do(words)
		if err != nil {
			return fmt.Errorf("%q: %w", words, err)
		}
		fmt.Println(answer)
	}
	return lines.Err()
}

func (s *sender) do(words []string) (answer string, err error) {
	switch words[0] {
	case "stream":
		addresses, err := parseAddresses(words[1:])
		s.mu.Lock()
		defer s.mu.Unlock()
		s.targets = addresses
		return "ok", err
	case "reach":
		limit, err := time.ParseDuration(words[1])
		if err != nil {
			return "", err
		}
		addresses, err := parseAddresses(words[2:])
		return strings.Join(s.reach(limit, addresses), " "), err
	case "say":
		to, err := netip.ParseAddr(words[1])
		if err != nil {
			return "", err
		}
		_, err = s.conn.WriteToUDPAddrPort([]byte(words[2]), netip.AddrPortFrom(to, beaconPort))
		return "ok", err
	}
	return "", errors.New("not known")
}

func parseAddresses(words []string) (out []netip.Addr, err error) {
	for _, word := range words {
		a, parseErr := netip.ParseAddr(word)
		out, err = append(out, a), errors.Join(err, parseErr)
	}
	return out, err
}

// sendNext sends the canary of a stream with a number.
func (s *sender) sendNext(number int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.targets) > 0 {
		s.send(s.targets[number%len(s.targets)], false)
	}
}

// ask sends a canary whose answer is awaited.
func (s *sender) ask(to netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.send(to, true)
}

// send sends a canary. The kernel may refuse, which is one that nobody sees. The caller holds s.mu.
func (s *sender) send(to netip.Addr, awaited bool) {
	s.last++
	number := s.last
	if awaited {
		s.asked[number] = to
	}
	_, _ = s.conn.WriteToUDPAddrPort(binary.BigEndian.AppendUint64([]byte(s.canary), number), netip.AddrPortFrom(to, beaconPort))
}

// receive notes the answers.
func (s *sender) receive() error {
	buffer := make([]byte, 1500)
	for {
		n, _, err := s.conn.ReadFromUDPAddrPort(buffer)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil || n != len(s.canary)+8 {
			continue
		}
		number := binary.BigEndian.Uint64(buffer[len(s.canary):n])
		s.mu.Lock()
		from, ok := s.asked[number]
		delete(s.asked, number)
		s.mu.Unlock()
		if ok {
			select {
			case s.answered <- from:
			default: // nobody waits any more
			}
		}
	}
}

// keepSending sends the stream until done.
func (s *sender) keepSending(done <-chan struct{}) error {
	tick := time.NewTicker(streamPause)
	defer tick.Stop()
	for i := 0; ; i++ {
		s.sendNext(i)
		select {
		case <-done:
			return nil
		case <-tick.C:
		}
	}
}

// reach asks addresses until all have answered or the time is over, and returns the others.
func (s *sender) reach(limit time.Duration, to []netip.Addr) (missing []string) {
	s.mu.Lock()
	clear(s.asked)
	for len(s.answered) > 0 {
		<-s.answered
	}
	s.mu.Unlock()
	left := map[netip.Addr]bool{}
	for _, a := range to {
		left[a] = true
	}
	tick, over := time.NewTicker(askPause), time.After(limit)
	defer tick.Stop()
	ask := func() {
		for a := range left {
			s.ask(a)
		}
	}
	ask()
	for len(left) > 0 {
		select {
		case a := <-s.answered:
			delete(left, a)
		case <-tick.C:
			ask()
		case <-over:
			for a := range left {
				missing = append(missing, a.String())
			}
			return missing
		}
	}
	return nil
}
