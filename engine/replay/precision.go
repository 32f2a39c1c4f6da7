package replay

import (
	"llamatab/engine/config"
	"llamatab/engine/nn"
	"llamatab/engine/quant"
	"llamatab/engine/tensor"
)

// numbers are the number formats of a run, from the config's precision. The zero value is float32, with frozen matrices in the
// type of their file.
type numbers struct {
	Params  tensor.DType // of weights as programs read them, and of stored activations
	buffers tensor.DType // of the table of rotations
	inPlace bool         // trained parameters have no float32 master, and updates round stochastically
}

var dtypes = map[string]tensor.DType{"float32": tensor.F32, "bfloat16": tensor.BF16, "float16": tensor.F16}

func numbersOf(p config.Precision) numbers {
	return numbers{Params: dtypes[p.ParamDType], buffers: dtypes[p.BufferDType], inPlace: p.StochasticRounding}
}

// store sets the type in which the device stores each parameter of a run in bfloat16 or float16. Trained parameters and frozen
// matrices get that type. Frozen vectors are small, so they are stored as float32 with rounded values.
func (n numbers) store(params []*nn.Param) {
	if n.Params == tensor.F32 {
		return
	}
	for _, p := range params {
		if p.Quant != quant.Plain {
			continue
		}
		p.DType, p.InPlace = tensor.F32, p.Trainable && n.inPlace
		if p.Trainable || len(p.Shape) == 2 {
			p.DType = n.Params
		}
	}
}
