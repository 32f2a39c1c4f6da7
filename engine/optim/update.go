package optim

import (
	"encoding/binary"
	"fmt"
	"math"

	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

// Places in the scalars buffer, which the host writes before each step. F32, NumScalars in all.
const (
	scalarLR          = iota // learning rate
	scalarScale              // 1/counted tokens, which makes the gradient of the summed loss that of the mean
	scalarCorrections        // 1/(1−β1ᵗ), 1/√(1−β2ᵗ), then both for t−1
	scalarKnownSkips  = 6    // skipped steps that the host has subtracted from t
	scalarNumber      = 7    // of the update in the run, which random numbers depend on
	NumScalars        = 8
)

// Places in the state buffer, which only FinishNorm writes. F32, NumState in all; zero before the first step.
const (
	stateNorm     = iota // norm of the gradient of the mean loss, before clipping
	stateClip            // the factor of clipping, 0 in a skipped step
	stateApplied         // 1 when the step changes the weights, 0 when its norm or its loss was not finite
	stateSkipped         // steps skipped so far
	stateLoss            // loss sum
	statePair            // 0: the corrections for t hold, 1: those for t−1
	stateFactor          // clip · scale, the factor on the stored gradient
	stateOverflow        // 1 when the step was not applied because the loss scale was too large
	NumState      = 8
)

// Scalars is the host's input to a step.
type Scalars struct {
	LR     float64
	Tokens int // counted tokens of the whole step; 0 counts as 1
	// Step is the number t ≥ 1 of this update among the applied ones, by the host's last reading of the state. The previous
	// step may have been skipped since. The device then uses t−1.
	Step         int
	KnownSkips   int // State.Skipped, as last read
	Number       int // of this update in the run, skipped ones counted: its random numbers depend on it
	Beta1, Beta2 float64
}

// Bytes is the content of the scalars buffer.
func (s Scalars) Bytes() []byte {
	x := make([]float32, NumScalars)
	x[scalarLR], x[scalarScale], x[scalarKnownSkips] = float32(s.LR), float32(1/float64(max(s.Tokens, 1))), float32(s.KnownSkips)
	x[scalarNumber] = float32(s.Number)
	for i, t := range []int{s.Step, s.Step - 1} {
		t := float64(max(t, 1)) // nothing was applied before the first update
		x[scalarCorrections+2*i] = float32(1 / (1 - math.Pow(s.Beta1, t)))
		x[scalarCorrections+2*i+1] = float32(1 / math.Sqrt(1-math.Pow(s.Beta2, t)))
	}
	return tensor.EncodeF32(nil, x, tensor.F32)
}

// State is the device's result of a step.
type State struct {
	Norm    float64 // of the gradient of the mean loss, before clipping
	Clip    float64 // the factor of clipping
	Applied bool    // false: norm or loss was not finite, and nothing was changed
	Skipped int     // steps skipped so far, this one included
	LossSum float64
	// Overflow tells that a step was not applied because of the loss scale, which has been halved.
	Overflow bool
}

// Decided is the state buffer of a step whose norm was computed elsewhere, as in a room. The update is applied, and the
// stored gradient is multiplied by factor.
func Decided(factor float32) []byte {
	x := make([]float32, NumState)
	x[stateApplied], x[stateFactor] = 1, factor
	return tensor.EncodeF32(nil, x, tensor.F32)
}

// DecodeState reads the content of the state buffer.
func DecodeState(b []byte) (State, error) {
	if len(b) != 4*NumState {
		return State{}, fmt.Errorf("optim: state of %d bytes, want %d", len(b), 4*NumState)
	}
	at := func(i int) float64 { return float64(math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))) }
	return State{at(stateNorm), at(stateClip), at(stateApplied) != 0, int(at(stateSkipped)), at(stateLoss), at(stateOverflow) != 0}, nil
}

// wantBuffers checks the shapes of the two buffers that every kernel of an update reads.
func wantBuffers(t *graph.Tape, op string, scalars, state graph.Var) {
	t.Want(op+" scalars", scalars, tensor.Of(NumScalars))
	t.Want(op+" state", state, tensor.Of(NumState))
}
