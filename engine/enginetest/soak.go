//go:build soak

package enginetest

func init() { rounds, leastProducts = 24, AllProducts }
