package firewall

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"

	"github.com/spanmesh/span/reconciler/state"
)

// recognize returns the statement that the comment of a rule names, if its
// expressions are what that statement compiles to. Any other rule is Foreign.
func recognize(r *nftables.Rule) state.Statement {
	if statement, err := state.ParseComment(comment(r.UserData)); err == nil {
		if expressions, err := compile(statement); err == nil && sameExpressions(expressions, r.Exprs) {
			return statement
		}
	}
	return state.Statement{Op: state.Foreign, Text: show(r.Exprs)}
}

// comment returns the comment of a rule as nft(8) keeps it, "" if there is none.
func comment(userData []byte) string {
	// Userdata reads past the end of data that is cut off. Its lengths have one byte, so that
	// it reads zeros here.
	padded := append(slices.Clone(userData), make([]byte, math.MaxUint8)...)
	text, _ := userdata.GetString(padded, userdata.TypeComment)
	return text
}

// sameExpressions reports whether compiled expressions are those that were read from the kernel.
func sameExpressions(compiled, read []expr.Any) bool {
	return slices.EqualFunc(compiled, read, func(a, b expr.Any) bool { return reflect.DeepEqual(normalize(a), normalize(b)) })
}

// normalize leaves out what differs between an expression and its reading from the kernel.
func normalize(e expr.Any) expr.Any {
	switch x := e.(type) {
	case *expr.Lookup:
		// The kernel numbers sets.
		return &expr.Lookup{SetName: x.SetName, Invert: x.Invert}
	case *expr.Ct:
		// The library does not read the register that a mark is set from.
		return &expr.Ct{Key: x.Key, SourceRegister: x.SourceRegister || x.Register == 0}
	case *expr.Counter:
		return &expr.Counter{} // what it has counted is no difference
	default:
		return e
	}
}

// show returns expressions as text for a listing.
func show(expressions []expr.Any) string {
	var parts []string
	for _, e := range expressions {
		parts = append(parts, fmt.Sprintf("%T %+v", e, e))
	}
	return strings.Join(parts, "; ")
}
