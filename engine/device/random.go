package device

// Random is the 32-bit hash of shaders/lib/random.wgsl, for references.
func Random(x, y, z, w uint32) uint32 {
	v := [4]uint32{x, y, z, w}
	for i := range v {
		v[i] = v[i]*1664525 + 1013904223
	}
	for round := range 2 {
		v[0] += v[1] * v[3]
		v[1] += v[2] * v[0]
		v[2] += v[0] * v[1]
		v[3] += v[1] * v[2]
		if round == 0 {
			for i := range v {
				v[i] ^= v[i] >> 16
			}
		}
	}
	return v[3]
}
