package optim

import (
	"encoding/binary"
	"fmt"
	"math"

	"llamatab/engine/tensor"
)

// LossScale is the factor on the loss before the backward pass, so that gradients in binary16 neither become zero nor
// overflow. It is a power of two, so it changes no other rounding. A step in which gradients overflow is not applied and
// halves it. After scalePatience steps without an overflow it is doubled. Micikevicius et al. 2018, arXiv:1710.03740.
type LossScale struct {
	Scale     float64 `json:"scale"`
	Steps     int     `json:"steps"`     // applied since it changed
	Overflows int     `json:"overflows"` // steps lost
}

const (
	scalePatience = 2000 // as in torch.amp.GradScaler
	mostScale     = 1 << 24
	// NumScale is the length of the buffer that holds a LossScale.
	NumScale = 4
)

// FirstLossScale is the scale at the start of a run. It is less than is usual, because gradients here are sums over tokens
// and not means.
var FirstLossScale = LossScale{Scale: 1024}

// Bytes is the content of the buffer.
func (s LossScale) Bytes() []byte {
	return tensor.EncodeF32(nil, []float32{float32(s.Scale), float32(s.Steps), float32(s.Overflows), 0}, tensor.F32)
}

// DecodeLossScale reads the content of the buffer.
func DecodeLossScale(b []byte) (LossScale, error) {
	if len(b) != 4*NumScale {
		return LossScale{}, fmt.Errorf("optim: loss scale of %d bytes, want %d", len(b), 4*NumScale)
	}
	at := func(i int) float64 { return float64(math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))) }
	return LossScale{at(0), int(at(1)), int(at(2))}, nil
}
