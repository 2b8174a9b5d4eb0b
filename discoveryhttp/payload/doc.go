// Package payload is what machines of a cluster hide from the discovery service
// that carries it: the encoding and the encryption of affiliates and endpoints.
//
// An affiliate is sealed with AES-256-GCM under the cluster secret, with a
// random nonce in front. An endpoint is encrypted block by block, so that equal
// endpoints are equal to a service that unites them without reading them; its
// integrity is checked by its form alone. The format is that of the public
// Sidero discovery client, so that Talos nodes read it.
//
// Everything that is decoded may come from anyone: Cipher's Open methods return
// errors for what is malformed, and their memory is bounded by their input.
//
// A Cipher is safe for concurrent use.
package payload
