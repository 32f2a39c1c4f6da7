package train

import (
	"math"
)

// watch follows the losses of a run to notice spikes, plateaus and overfitting. It is part of every checkpoint, so a resumed
// run reports what an uninterrupted one reports.
type watch struct {
	Band    band    `json:"band"`
	Plateau plateau `json:"plateau"`
	HeldOut heldOut `json:"held_out"`
}

// band is the range in which the next loss is expected: an exponential mean and variance of the losses so far without spikes.
type band struct {
	Mean     float64 `json:"mean"`
	Variance float64 `json:"variance"`
	Steps    int     `json:"steps"` // whose losses are in the mean
	Above    int     `json:"above"` // the last steps in a row whose losses were above the band
}

const (
	bandDecay  = 0.95 // weight of the past: about twenty steps count
	bandWarmup = 20   // steps before the deviation means something
	bandWidth  = 4    // deviations above the mean
	bandRow    = 3    // steps in a row above the band that are a spike
)

// Spike adds a loss and reports whether it is a spike: the third loss in a row that is more than four deviations and a tenth
// above the mean, or the first that is more than 3·mean + 1. Losses above the band are not added to the mean. A loss that
// is not finite is ignored, because Loop.nonfinite handles it.
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
	decay := min(bandDecay, 1-1/float64(b.Steps)) // the arithmetic mean of the first steps
	d := loss - b.Mean
	b.Mean += (1 - decay) * d
	b.Variance = decay * (b.Variance + (1-decay)*d*d)
	return false
}

// plateau notices that the smoothed loss no longer falls.
type plateau struct {
	Lowest   float64 `json:"lowest"`
	Since    int     `json:"since"` // step at which the lowest mean was last undercut by more than plateauGain
	Reported bool    `json:"told"`
}

const (
	plateauSteps = 100
	plateauGain  = 0.01
)

// take returns true once when the mean has not fallen by plateauGain for plateauSteps steps.
func (p *plateau) take(step int, mean float64) bool {
	if p.Since == 0 || mean < (1-plateauGain)*p.Lowest {
		*p = plateau{Lowest: mean, Since: step}
	}
	if p.Reported || step-p.Since < plateauSteps {
		return false
	}
	p.Reported = true
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
	Reported bool    `json:"told"`
}

// overfitRow is the number of worse evaluations in a row that is reported as overfitting.
const overfitRow = 3

// take reports whether the loss of an evaluation is the lowest so far. overfits is true once when overfitRow evaluations in
// a row had a higher held-out loss and a lower training loss than the one before.
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
		h.Rising, h.Reported = 0, false
	}
	h.Loss, h.Train = loss, train
	overfits = h.Rising >= overfitRow && !h.Reported
	h.Reported = h.Reported || overfits
	return best, overfits
}

func finite(x float64) bool { return !math.IsNaN(x - x) }
