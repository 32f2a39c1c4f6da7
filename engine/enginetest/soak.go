//go:build soak

package enginetest

func init() { rounds, allProducts = 24, true }
