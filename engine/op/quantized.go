package op

import (
	"llamatab/engine/device"
	"llamatab/engine/quant"
)

// quantization is the format of a binding that a launch reads quantised, quant.Plain if it is not. name is the binding's, in
// capitals.
func quantization(p device.Params, name string) quant.Format {
	if !p.Bool(name + "_QUANTIZED") {
		return quant.Plain
	}
	return quant.Format(p.Int(name+"_FORMAT", 0))
}

// unpacked is the matrix of argument i, whose binding has this name in capitals.
func unpacked(c *device.Call, i int, name string, rows, cols int) []float64 {
	f := quantization(c.Params, name)
	if f == quant.Plain {
		return c.F(i)
	}
	x := make([]float32, rows*cols)
	f.Unpack(x, c.U(i), rows, cols)
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// packedRandom packs a matrix of random values.
func packedRandom(f quant.Format, rows, cols int, random func() float32) []byte {
	x := make([]float32, rows*cols)
	for i := range x {
		x[i] = random()
	}
	data, err := f.Pack(x, rows, cols)
	if err != nil {
		panic(err) // the shape does not fit the format
	}
	return data
}
