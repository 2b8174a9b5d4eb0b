// Package ui serves a page that shows machines and their meshes to the browser of one user.
//
// A Server has three parts. A reader per machine asks its agent how it is, over one connection, while
// a page is open. The board keeps the last answer of each, and each stream sends what changed there
// since it last looked: a slow browser skips states, and nothing is queued for it. The guard is in
// front of all handlers: a token that is good once becomes a cookie, and requests that other pages
// sent are refused.
//
// The page's files are in dist. They are made of the sources in web.
package ui
