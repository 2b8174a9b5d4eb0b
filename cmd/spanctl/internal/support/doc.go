// Package support makes a support bundle: a zip archive of files that describe a machine's mesh.
//
// Files are read first, each within a time and a size. Then a Scrubber learns from all of them what
// is a secret, a name, a key or an ID, and rewrites each: secrets are left out, and the rest becomes
// placeholders, the same one for the same text in every file. Only then is the archive written.
package support
