package ui

const (
	// curveLimit is the most points that a curve keeps: more than a chart has pixels.
	curveLimit = 4096
	// smoothing is the weight that the smoothed loss keeps of what was, per step.
	smoothing = 0.9
)

// Curve is the loss by step, thinned so that a run of any length keeps at most curveLimit points: when it is full,
// neighbours are merged into their mean. A loss that is not a number stays one, and is a gap in the chart.
type Curve struct {
	Step, Loss, Smooth []float64 // as many of each

	stride int // steps in a point
	n      int // steps in the point that is being gathered
	sum    float64
	// Smooth is the exponential mean of all losses so far, divided by its weight so that it starts unbiased.
	mean, weight float64
}

// Add appends the loss of a step.
func (c *Curve) Add(step int, loss float64) {
	if loss-loss == 0 { // finite
		c.mean = smoothing*c.mean + (1-smoothing)*loss
		c.weight = smoothing*c.weight + (1 - smoothing)
	}
	c.n, c.sum = c.n+1, c.sum+loss
	if c.n < c.stride {
		return
	}
	c.Step = append(c.Step, float64(step))
	c.Loss = append(c.Loss, c.sum/float64(c.n))
	c.Smooth = append(c.Smooth, c.mean/c.weight) // 0/0, a gap, before the first finite loss
	c.n, c.sum = 0, 0
	if len(c.Step) == curveLimit {
		c.thin()
	}
}

// thin halves the points.
func (c *Curve) thin() {
	half := len(c.Step) / 2
	for i := range half {
		c.Step[i], c.Smooth[i] = c.Step[2*i+1], c.Smooth[2*i+1]
		c.Loss[i] = (c.Loss[2*i] + c.Loss[2*i+1]) / 2
	}
	c.Step, c.Loss, c.Smooth = c.Step[:half], c.Loss[:half], c.Smooth[:half]
	c.stride = 2 * max(c.stride, 1)
}
