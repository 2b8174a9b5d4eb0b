package nodecmd

import (
	"strconv"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
)

// RewritingTable is the nftables table that rewrite-marks makes.
const RewritingTable = "rewrites-marks"

// rewriteMarks gives every packet that the machine sends or forwards the mark args[1], in chains of
// the priority args[0].
func rewriteMarks(args []string) error {
	priority, err := strconv.ParseInt(args[0], 10, 32)
	if err != nil {
		return err
	}
	mark, err := strconv.ParseUint(args[1], 0, 32)
	if err != nil {
		return err
	}
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	table := conn.AddTable(&nftables.Table{Name: RewritingTable, Family: nftables.TableFamilyINet})
	for _, chain := range []*nftables.Chain{
		{Name: "sent", Type: nftables.ChainTypeRoute, Hooknum: nftables.ChainHookOutput},
		{Name: "forwarded", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting},
	} {
		chain.Table, chain.Priority = table, nftables.ChainPriorityRef(nftables.ChainPriority(priority))
		conn.AddRule(&nftables.Rule{Table: table, Chain: conn.AddChain(chain), Exprs: []expr.Any{
			&expr.Immediate{Register: 1, Data: binaryutil.NativeEndian.PutUint32(uint32(mark))},
			&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: 1},
		}})
	}
	return conn.Flush()
}
