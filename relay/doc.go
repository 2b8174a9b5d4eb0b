// Package relay forwards WireGuard's packets between machines, without a key of theirs.
//
// A Router decides where each packet goes. It has a key pair of its own and is a WireGuard peer of
// each member, without networks. What it knows, it learns from packets:
//
//   - A member registers by a handshake with the relay. Only data of such a session, which the
//     relay has authenticated, makes or moves the member's address.
//   - An initiation goes to the member whose public key its mac1 was made with. Such members come
//     first as the sender has had handshakes with, then those of its clusters.
//   - A response and data go where the handshake came from: a flow is a source and the receiver
//     index that its packets carry.
//   - A machine that does not register, as it has no agent, is found where a member's response to
//     it has gone: the mac1 of the response names it.
//
// Anyone may check whether the relay is there. The answer says whether a member is registered at the
// check's source, and names the table of flows, so that members notice when it was lost.
//
// Nothing that a Router sends is longer than what it answers, and one packet makes one at most.
//
// A Router opens no sockets and reads no clock. It is for one goroutine.
package relay
