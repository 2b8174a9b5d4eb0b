package generate

// Shared are the settings that a machine hands on to one that joins.
var Shared = shared
