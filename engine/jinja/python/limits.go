package python

// Limits on one computation.
const (
	maxNested = 300     // levels that JSON nests
	maxDepth  = 1000    // nested evaluations, macros that call macros included
	maxSteps  = 1 << 20 // evaluations of one rendering, elements of lists that are made or compared included
	baseBytes = 32 << 20
	perByte   = 16 // bytes that may be allocated for each byte of the variables, beside baseBytes
)

// A Meter counts what one rendering uses. An assignment in a loop can double a text in each round, and a list can hold the
// same list twice, so both time and memory are counted where they are used.
type Meter struct {
	steps, bytes int // left
	depth        int // evaluations under way
}

// NewMeter is a meter for a computation on variables of a number of bytes.
func NewMeter(bytes int) Meter {
	m := Meter{steps: maxSteps, bytes: baseBytes + perByte*bytes}
	m.steps += m.bytes >> 6
	return m
}

// Step spends n steps.
func (m *Meter) Step(n int) {
	if m.steps -= n; m.steps < 0 || n < 0 {
		panic(&Error{Text: "rendering takes too many steps: the template loops too long", Limit: true})
	}
}

// Alloc spends n bytes that are allocated.
func (m *Meter) Alloc(n int) {
	if m.bytes -= n; m.bytes < 0 || n < 0 {
		panic(&Error{Text: "rendering takes too much memory: the template makes too long texts", Limit: true})
	}
	m.Step(n >> 6)
}

// Times is count·size, and at least a number that exceeds every limit where the product overflows.
func Times(count int64, size int) int {
	const huge = 1 << 30
	if count <= 0 || size <= 0 {
		return 0
	}
	if count > huge || size > huge || count*int64(size) > huge {
		return huge
	}
	return int(count) * size
}

// Enter begins an evaluation, which Leave ends.
func (m *Meter) Enter() {
	if m.depth++; m.depth > maxDepth {
		panic(&Error{Text: "rendering nests too deeply: a macro calls itself without end", Limit: true})
	}
	m.Step(1)
}

// Leave ends an evaluation.
func (m *Meter) Leave() { m.depth-- }
