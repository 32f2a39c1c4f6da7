package room

// exhaustive makes tests try every bit and every length; the long tests set it.
var exhaustive = false
