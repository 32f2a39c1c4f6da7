package train

import (
	"math"
)

// watch follows the losses of a run and notices what a person should know of. It is part of every checkpoint, so that a
// resumed run judges as one that never stopped.
type watch struct {
	Band    band    `json:"band"`
	Plateau plateau `json:"plateau"`
	HeldOut heldOut `json:"held_out"`
}

// band is where the loss is expected: an exponential mean and deviation of the losses so far, spikes left out.
type band struct {
	Mean     float64 `json:"mean"`
	Variance float64 `json:"variance"`
	Steps    int     `json:"steps"` // taken in
	Above    int     `json:"above"` // in a row that lay above the band just now
}

const (
	bandDecay  = 0.95 // weight of the past: about twenty steps count
	bandWarmup = 20   // steps before the deviation means something
	bandWidth  = 4    // deviations above the mean
	bandRow    = 3    // steps in a row above the band that are a spike
)

// Spike takes a loss in and reports a spike: the third loss in a row that is more than four deviations and a tenth
// above the mean, or the first that is out of all proportion, more than thrice the mean and a nat. Those losses are
// left out of the mean. What is not finite is somebody else's concern.
func (b *band) Spike(loss float64) bool {
	if !finite(loss) {
		return false
	}
	if b.Steps > 0 {
		far := loss > 3*b.Mean+1
		if far || b.Steps >= bandWarmup && loss > b.Mean+max(bandWidth*math.Sqrt(b.Variance), 0.1*b.Mean) {
			b.Above++
			return far || b.Above >= bandRow
		}
	}
	b.Above = 0
	b.Steps++
	decay := min(bandDecay, 1-1/float64(b.Steps)) // the plain mean at first
	d := loss - b.Mean
	b.Mean += (1 - decay) * d
	b.Variance = decay * (b.Variance + (1-decay)*d*d)
	return false
}

// plateau notices that the smoothed loss no longer falls.
type plateau struct {
	Lowest float64 `json:"lowest"`
	Since  int     `json:"since"` // step at which the lowest mean was last undercut by more than plateauGain
	Told   bool    `json:"told"`
}

const (
	plateauSteps = 100
	plateauGain  = 0.01
)

// take reports once that for plateauSteps steps the mean has not fallen by plateauGain.
func (p *plateau) take(step int, mean float64) bool {
	if p.Since == 0 || mean < (1-plateauGain)*p.Lowest {
		*p = plateau{Lowest: mean, Since: step}
	}
	if p.Told || step-p.Since < plateauSteps {
		return false
	}
	p.Told = true
	return true
}

// heldOut follows the loss on the held-out rows.
type heldOut struct {
	Best     float64 `json:"best_metric"`
	BestStep int     `json:"best_global_step"` // 0: none yet
	Stale    int     `json:"evaluations_since_best"`
	Loss     float64 `json:"loss"` // of the last evaluation, with the mean of the training loss then
	Train    float64 `json:"train"`
	Rising   int     `json:"rising"` // evaluations in a row at which the loss rose while that of training fell
	Told     bool    `json:"told"`
}

// overfitRow is how many evaluations in a row have to be worse than the one before to speak of overfitting.
const overfitRow = 3

// take reports whether an evaluation is the best so far, and once that it is one of overfitRow in a row at which the
// loss rose while that of training fell.
func (h *heldOut) take(step int, loss, train float64) (best, overfits bool) {
	best = finite(loss) && (h.BestStep == 0 || loss < h.Best)
	if h.Stale++; best {
		h.Best, h.BestStep, h.Stale = loss, step, 0
	}
	if !finite(loss) {
		return best, false
	}
	switch {
	case h.Loss == 0: // the first
	case loss > h.Loss && train < h.Train:
		h.Rising++
	default:
		h.Rising, h.Told = 0, false
	}
	h.Loss, h.Train = loss, train
	overfits = h.Rising >= overfitRow && !h.Told
	h.Told = h.Told || overfits
	return best, overfits
}

func finite(x float64) bool { return !math.IsNaN(x - x) }
