// Package metrics has the metrics of an agent, in the format of Prometheus.
//
// What happens is counted where it happens, by Metrics, which is a reconciler.Meter. What is, such
// as the state of the peers, is read from a State when metrics are collected (collect.go). All
// families and their texts are in families.go, which the table in docs/monitoring.md is made of.
package metrics
