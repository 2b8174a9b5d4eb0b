// Package top is the screen of `spanctl top`: what is wrong with a machine's mesh, its peers and its
// events, while they change.
//
// Model is pure: it takes what happened, each with the time, and says what to ask the agent for; View
// returns the screen. Run connects it with a terminal and a Source.
package top
