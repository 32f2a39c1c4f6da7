//go:build soak

package servertest

// Soak tells that the long tests run as well.
const Soak = true
