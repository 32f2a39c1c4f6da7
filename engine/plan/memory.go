package plan

import (
	"fmt"
	"strings"

	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/message"
)

// Memory is the plan of all buffers of a run.
type Memory struct {
	device.Usage
	Specs []device.Spec
	// Temporaries is the size of all activations if none shared memory with another.
	Temporaries int64
}

// Sum adds up the buffers of a run: of parameters, of activations, and further ones.
func Sum(l Layout, optimizer bool, activations graph.Plan, further ...device.Spec) Memory {
	m := Memory{Temporaries: activations.Temporaries}
	m.Specs = append(l.Specs(optimizer), further...)
	m.Specs = append(m.Specs, activations.Specs()...)
	for _, s := range m.Specs {
		m.Usage[s.Kind] += s.Bytes()
	}
	return m
}

// Want returns the limits that a device needs for the run.
func (m Memory) Want() device.Limits {
	l := device.DefaultLimits
	for _, s := range m.Specs {
		l.MaxBuffer = max(l.MaxBuffer, s.Bytes())
		l.MaxBinding = max(l.MaxBinding, s.Bytes())
	}
	return l
}

// Misfit is the error of a run that does not fit: why, and by how many bytes.
type Misfit struct{ message.Remark }

func (m *Misfit) Error() string { return m.Message }

// size is a number of bytes that is printed with a unit.
type size int64

func (n size) String() string { return Bytes(int64(n)) }

// Check returns a Misfit for the first limit of a device that a buffer exceeds, or if the total exceeds a budget in bytes, 0 for
// none. It returns nil if everything fits.
func (m Memory) Check(l device.Limits, budget int64) *Misfit {
	for _, s := range m.Specs {
		if n, most := s.Bytes(), min(l.MaxBuffer, l.MaxBinding); n > most {
			return &Misfit{message.NewRemark("buffer_misfit", "one buffer ({buffer}) needs {need_bytes} and {limit_bytes} is the limit: {excess_bytes} too much",
				"buffer", s.Label, "need_bytes", size(n), "limit_bytes", size(most), "excess_bytes", size(n-most))}
		}
	}
	if n := m.Total(); budget > 0 && n > budget {
		return &Misfit{message.NewRemark("memory_misfit", "the run needs {need_bytes} and {limit_bytes} is the limit: {excess_bytes} too much",
			"need_bytes", size(n), "limit_bytes", size(budget), "excess_bytes", size(n-budget))}
	}
	return nil
}

// Table is the plan by kind of memory, for people.
func (m Memory) Table() string {
	var b strings.Builder
	for c, n := range m.Usage {
		fmt.Fprintf(&b, "%-12s %12s\n", device.MemoryKind(c), Bytes(n))
	}
	fmt.Fprintf(&b, "%-12s %12s\n", "total", Bytes(m.Total()))
	return b.String()
}

// Bytes is a number of bytes as text, with a unit that gives it one to four digits.
func Bytes(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}
