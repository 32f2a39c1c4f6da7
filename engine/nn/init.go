package nn

import (
	"hash/fnv"
	"math/rand/v2"
)

// Init is a distribution of initial values.
type Init struct {
	Kind  InitKind
	Scale float64 // the bound of Uniform, the standard deviation of Normal, the value of Constant
}

// InitKind names a distribution.
type InitKind uint8

const (
	Constant InitKind = iota
	Uniform           // in (−Scale, Scale)
	Normal            // mean 0
)

// Fill draws the values of the parameter called name. The random numbers depend on the seed and the name only, so a run starts
// with the same values however its parameters are ordered or sharded.
func (i Init) Fill(x []float32, seed uint64, name string) {
	h := fnv.New64a()
	h.Write([]byte(name))
	r := rand.New(rand.NewPCG(seed, h.Sum64()))
	for j := range x {
		switch i.Kind {
		case Uniform:
			x[j] = float32((2*r.Float64() - 1) * i.Scale)
		case Normal:
			x[j] = float32(r.NormFloat64() * i.Scale)
		default:
			x[j] = float32(i.Scale)
		}
	}
}
