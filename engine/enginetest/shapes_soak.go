//go:build soak

package enginetest

func init() { rounds = 24 }
