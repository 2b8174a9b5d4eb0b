// Package door accepts the connections of a server that speaks gRPC and other protocols on
// one port, and bounds what connections cost before and while they are served.
//
//	accept ─▶ counted per caller ─▶ TLS handshake ─▶ first request's headers ─┬▶ GRPC()
//	             (callers.go)        (pending.go)            (peek.go)        └▶ HTTP()
//
// A connection whose first request has the content type of gRPC in protobuf goes to the
// listener GRPC, every other one to the listener HTTP: HTTP/1.1 at once, HTTP/2 when the
// headers of its first request were read. What was read is read again by the server that gets
// the connection (conn.go). All later requests of the connection go to the same server. A
// proxy may send gRPC and other requests on one connection, so connections of trusted proxies
// go to HTTP, whose server speaks gRPC, too, unless they are known to keep them apart.
//
// gRPC's clients send a request only after the server's SETTINGS frame (RFC 9113, section
// 3.4), and which server it will be is known only from the request. So the door sends a
// SETTINGS frame of its own when a client waits, and withholds the acknowledgment from the
// server, which has not sent that frame: net/http closes a connection with an acknowledgment
// too many.
//
// Each write has a deadline (conn.go). A client that does not read is reset.
//
// A Door is safe for concurrent use.
package door
