package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/spf13/pflag"

	"github.com/spanmesh/span/reconciler/human"
)

// leastMemory is the least --max-memory, in bytes: enough for one cluster of a few hundred
// machines.
const leastMemory = 16 << 20

// fitMemory lowers the limits that the user has not given, so that no client can make the
// server take more than --max-memory.
func (f *serveOptions) fitMemory(log *slog.Logger) error {
	if f.memory == 0 {
		f.memory = max(availableMemory()/2, leastMemory)
	}
	if f.memory < leastMemory {
		return fmt.Errorf("--max-memory is %s: want at least %s", human.Bytes(f.memory), human.Bytes(leastMemory))
	}
	given := map[string]string{}
	f.given.Visit(func(flag *pflag.Flag) {
		if strings.HasPrefix(flag.Name, "max-") {
			given[flag.Name] = flag.Value.String()
		}
	})
	usual, memory := f.limits.Memory(), f.memory
	if f.relay.listen != "" {
		if f.relay.limits.Memory() > memory/relayShare {
			f.relay.limits = f.relay.limits.Within(memory / relayShare)
			log.Info("limits of the relay lowered to fit the memory", "memory", human.Bytes(memory/relayShare), "machines", f.relay.limits.Members, "streams", f.relay.limits.Streams)
		}
		memory -= min(f.relay.limits.Memory(), memory/relayShare)
	}
	f.limits = f.limits.Within(memory)
	var err error
	for name, value := range given {
		err = errors.Join(err, f.given.Set(name, value))
	}
	if err != nil {
		return err
	}
	switch most := f.limits.Memory(); {
	case most > memory || f.relay.listen != "" && f.relay.limits.Memory() > f.memory/relayShare:
		log.Warn("the limits given allow more memory than --max-memory", "memory", human.Bytes(f.memory))
	case usual > memory:
		log.Info("limits lowered to fit the memory", "memory", human.Bytes(f.memory), "connections", f.limits.Connections.Connections,
			"watches", f.limits.Watches, "affiliates", human.Bytes(f.limits.Store.Bytes))
	}
	return nil
}

// availableMemory returns the limit of the process's cgroup, or the machine's memory, in
// bytes, whichever is less; the most there can be if neither is known.
func availableMemory() int64 {
	least := uint64(1) << 62
	for _, provider := range []memlimit.Provider{memlimit.FromCgroup, memlimit.FromSystem} {
		if limit, err := provider(); err == nil && limit > 0 {
			least = min(least, limit)
		}
	}
	return int64(least)
}
