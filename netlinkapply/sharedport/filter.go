package sharedport

import "golang.org/x/net/bpf"

const (
	// stunCookie is at an offset in each message of STUN (RFC 8489, section 5).
	stunCookie       = 0x2112A442
	stunCookieOffset = 4
	// probeMagic is what probes of paths, and what relays say of themselves, begin with. A byte that is
	// their kind follows.
	probeMagic      = 0x53706E01
	probeKindOffset = 4
	lastProbeKind   = 7
)

// filter4 lets the messages of STUN and the probes to the port through. A raw socket of IPv4 sees IP's
// header.
func filter4(port uint16) []bpf.Instruction {
	return append([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 6, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: fragmented, SkipTrue: 12},
		bpf.LoadMemShift{Off: 0},
	}, filterUDP(port, func(offset, size uint32) bpf.Instruction { return bpf.LoadIndirect{Off: offset, Size: int(size)} })...)
}

// filter6 is filter4 for a raw socket of IPv6, which does not see IP's header.
func filter6(port uint16) []bpf.Instruction {
	return filterUDP(port, func(offset, size uint32) bpf.Instruction { return bpf.LoadAbsolute{Off: offset, Size: int(size)} })
}

// filterUDP is the part of a filter that looks at UDP's header and what follows it. Load loads from an
// offset in UDP's header; beyond the end of the packet, the kernel drops the packet.
func filterUDP(port uint16, load func(offset, size uint32) bpf.Instruction) []bpf.Instruction {
	return []bpf.Instruction{
		load(2, 2),
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(port), SkipTrue: 9},
		load(udpHeader, 4),
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: probeMagic, SkipTrue: 3},
		load(udpHeader+stunCookieOffset, 4),
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: stunCookie, SkipTrue: 4},
		bpf.RetConstant{Val: 0},
		load(udpHeader+probeKindOffset, 1),
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: lastProbeKind, SkipTrue: 1},
		bpf.RetConstant{Val: maxDatagram},
		bpf.RetConstant{Val: 0},
	}
}
