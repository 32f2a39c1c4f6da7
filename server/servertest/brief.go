//go:build !soak

package servertest

// Soak reports whether the long tests run as well.
const Soak = false
