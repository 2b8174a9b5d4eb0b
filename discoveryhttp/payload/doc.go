// Package payload encodes and encrypts what the machines of a cluster publish, so that a
// discovery service can neither read nor forge it.
//
// An affiliate is encrypted with AES-256-GCM under the cluster secret, with a random nonce
// in front. An endpoint is encrypted block by block and deterministically: a service can
// recognize equal endpoints and merge them. Only the form of a decrypted endpoint protects
// its integrity. A Stamp inside of the encrypted part numbers the publications of a machine,
// so that older copies can be refused (docs/decisions/sequence.md). The format is that of the
// public Sidero discovery client, so that Talos nodes can read it.
//
// Anyone may have written what is decoded. The Open methods of Cipher return errors for
// malformed input and use no more memory than the input calls for.
//
// A Cipher is safe for concurrent use.
package payload
