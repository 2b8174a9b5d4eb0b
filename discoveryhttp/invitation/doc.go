// Package invitation has the invitations by which a machine joins a cluster in one line.
//
// A Line names a discovery server and has a Key after its "#", which is never sent. By HKDF (RFC
// 5869) with SHA-256 the key gives the name that the invitation has at the server, and the key of
// AES-256-GCM that its contents are sealed with. So the server can neither read an invitation nor
// make one that a line opens.
//
//	https://discovery.example.com/#BASE64
//	BASE64: 0 version: 1 | 1 flags | 2 key[32] | 34 cluster[8] | 42 checksum[4]
//
// The cluster is a hash of its ID with the key: a machine that has a config knows whether the line is
// of the same cluster before it takes the invitation.
//
// A Client makes, takes, lists and revokes invitations at a server.
package invitation
