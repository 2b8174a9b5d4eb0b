// Package talos converts machine configs of Talos Linux: the single document of earlier versions,
// and the several documents of later ones (docs.siderolabs.com, reference, configuration).
//
// Errors never show a value of the file.
package talos
