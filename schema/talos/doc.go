// Package talos converts machine configs of Talos Linux: the single document of earlier versions,
// and the several documents of later ones (docs.siderolabs.com, reference, configuration).
//
//	text ──▶ documents ──▶ sections ──▶ settings ──▶ complete ──▶ text
//	         (YAML)        KubeSpan,                 what is off, (any format)
//	                       discovery,                identity
//	                       cluster ID
//
// Each setting that is taken has its place in the Talos file, so that a fault that only the schema
// finds is shown there. Errors never show a value that could be secret.
package talos
