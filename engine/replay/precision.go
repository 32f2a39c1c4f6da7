package replay

import (
	"llamatab/engine/config"
	"llamatab/engine/nn"
	"llamatab/engine/tensor"
)

// numbers are the formats of a run, as its precision asks for them. The zero value keeps everything in float32, and
// frozen matrices as their file has them.
type numbers struct {
	Params  tensor.DType // weights as compute sees them, and stored activations
	buffers tensor.DType // the table of rotations
	inPlace bool         // what trains has no float32 master; updates round stochastically
}

var dtypes = map[string]tensor.DType{"float32": tensor.F32, "bfloat16": tensor.BF16, "float16": tensor.F16}

func numbersOf(p config.Precision) numbers {
	return numbers{Params: dtypes[p.ParamDType], buffers: dtypes[p.BufferDType], inPlace: p.StochasticRounding}
}

// store decides how the device stores parameters of a run in numbers of two bytes. What trains is packed whatever its
// shape, beside a master or alone. Frozen vectors are small: they stay float32 words that hold rounded values.
func (n numbers) store(params []*nn.Param) {
	if n.Params == tensor.F32 {
		return
	}
	for _, p := range params {
		p.DType, p.InPlace = tensor.F32, p.Trainable && n.inPlace
		if p.Trainable || len(p.Shape) == 2 {
			p.DType = n.Params
		}
	}
}
