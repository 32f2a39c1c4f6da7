// Package op holds the operations that models are made of, one to a file: formula, kernels, gradient and the Go
// reference that defines what the kernels must compute. Shader files carry the same names.
package op

import (
	"slices"

	"llamatab/engine/device"
)

// bindings spells a kernel's storage buffers in order: in("x", "w").out("y").
type bindings []device.Binding

func in(names ...string) bindings { return bindings(nil).add(device.Read, names) }

// out adds buffers that are replaced, or added to where the launch accumulates.
func (b bindings) out(names ...string) bindings { return b.add(device.Write, names) }

// inout adds buffers that are changed in place.
func (b bindings) inout(names ...string) bindings { return b.add(device.Update, names) }

// either marks a buffer that may also hold numbers of two bytes; words, those that hold them in any case.
func (b bindings) either(name string) bindings    { return b.packed(device.Either, name) }
func (b bindings) words(names ...string) bindings { return b.packed(device.Words, names...) }

func (b bindings) packed(p device.Packed, names ...string) bindings {
	for i := range b {
		if slices.Contains(names, b[i].Name) {
			b[i].Packed = p
		}
	}
	return b
}

func (b bindings) add(a device.Access, names []string) bindings {
	for _, n := range names {
		b = append(b, device.Binding{Name: n, Access: a})
	}
	return b
}

// wg is the workgroup size of kernels that have no reason for another.
const wg = 64

// perThread is the grid of kernels that handle one element a thread.
func perThread(n int) [3]int { return device.Groups(device.CeilDiv(n, wg)) }

// rowVariants are for kernels that give a workgroup to each row. On a software adapter a barrier costs as much as
// dozens of loads, so there the workgroup is no wider than the adapter's four lanes.
var rowVariants = []device.Variant{
	{Name: "lanes4", Params: device.Params{"WG": 4}, Fits: func(i device.Info, _ device.Limits, _ any) bool { return i.Software }},
	{Name: "threads64"},
}
