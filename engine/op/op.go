// Package op holds the operations of the models. x.go has the formula of an op, its kernels, its gradient, and the Go
// reference that defines what each kernel computes. The kernels' WGSL is in shaders/x.wgsl and x_*.wgsl, the proof in
// x_test.go. A test of package enginetest holds this rule.
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

// either marks a buffer that holds float32 or two-byte numbers. words marks buffers that always hold two-byte numbers.
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

// wg is the default workgroup size.
const wg = 64

// perThread is the grid of a kernel that has one thread for each of n elements.
func perThread(n int) [3]int { return device.Groups(device.CeilDiv(n, wg)) }

// rowVariants are for kernels with one workgroup for each row. On a software adapter a barrier costs as much as
// dozens of loads, so there the workgroup is no wider than the adapter's four lanes.
var rowVariants = []device.Variant{
	{Name: "lanes4", Params: device.Params{"WG": 4}, Fits: func(i device.Info, _ device.Limits, _ any) bool { return i.Software }},
	{Name: "threads64"},
}
