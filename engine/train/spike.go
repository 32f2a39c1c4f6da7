package train

import "math"

// band is where the loss is expected: an exponential mean and deviation of the losses so far, spikes left out.
type band struct {
	mean, variance float64
	n              int
}

const (
	bandDecay  = 0.95 // weight of the past: about twenty steps count
	bandWarmup = 20   // steps before anything is called a spike
	bandWidth  = 6    // deviations above the mean
)

// spike reports whether a loss lies far above the band, and otherwise takes it into the band. What is not finite is
// somebody else's concern.
func (b *band) spike(loss float64) bool {
	if math.IsNaN(loss) || math.IsInf(loss, 0) {
		return false
	}
	if b.n >= bandWarmup && loss > b.mean+bandWidth*math.Sqrt(b.variance) && loss > 1.1*b.mean {
		return true
	}
	b.n++
	decay := math.Min(bandDecay, 1-1/float64(b.n)) // the plain mean at first
	d := loss - b.mean
	b.mean += (1 - decay) * d
	b.variance = decay * (b.variance + (1-decay)*d*d)
	return false
}
