// Package trouble plants faults in meshes, and expects that `spanctl status` names each.
package trouble
