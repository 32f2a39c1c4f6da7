package op

import (
	"math"

	"llamatab/engine/device"
)

// Finite is the report of FirstNonFinite for a tensor without a NaN or an infinity.
const Finite = math.MaxUint32

// FirstNonFinite makes a launch that writes the index of the first NaN or infinity of x into report, or Finite.
// x is F32 of any length, report I32.
func FirstNonFinite(x, report device.Slice, place int) *device.Launch {
	return &device.Launch{Kernel: firstNonFinite, Dims: nonFiniteDims{uint32(x.Len), uint32(place)}, Args: []device.Slice{x, report}}
}

type nonFiniteDims struct{ N, Slot uint32 }

var firstNonFinite = &device.Kernel{
	Name: "nonfinite", Shader: "nonfinite", Entry: "nonfinite",
	Bindings: in("x").out("report"),
	Grid:     func(any, device.Params) [3]int { return [3]int{1, 1, 1} },
	Ref: func(c *device.Call) {
		d, x, report := c.Dims.(nonFiniteDims), c.F(0), c.U(1)
		report[d.Slot] = Finite
		for i, v := range x {
			if math.IsNaN(v - v) {
				report[d.Slot] = uint32(i)
				return
			}
		}
	},
}
