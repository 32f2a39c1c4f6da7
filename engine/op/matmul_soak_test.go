//go:build soak

package op

func init() { matmulUses = len(allMatmulUses) }
