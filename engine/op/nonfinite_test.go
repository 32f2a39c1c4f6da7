package op

import (
	"encoding/binary"
	"math"
	"testing"

	"llamatab/engine/device"
	"llamatab/engine/enginetest"
	"llamatab/engine/tensor"
)

func TestFirstNonFinite(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, dev := range enginetest.Devices(t) {
		r := enginetest.NewRand(1)
		alloc := func(d tensor.DType, n int) device.Slice {
			b, err := dev.Alloc(device.Spec{DType: d, Len: n, Kind: device.Staging, Label: "test"})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { dev.Free(b) })
			return device.All(b)
		}
		const cases = 40
		report := alloc(tensor.I32, cases)
		var cmds []device.Command
		var want []uint32
		for i := range cases {
			x := r.Floats(r.Dim(1, 3000), 1e37)
			want = append(want, Finite)
			for k := range i % 4 { // of several, the first counts
				at := r.IntN(len(x))
				x[at] = []float32{nan, inf, -inf}[k]
				want[i] = min(want[i], uint32(at))
			}
			s := alloc(tensor.F32, len(x))
			if err := dev.Write(s.Buf, 0, tensor.EncodeF32(nil, x, tensor.F32)); err != nil {
				t.Fatal(err)
			}
			cmds = append(cmds, device.Command{Launch: FirstNonFinite(s, report, i)})
		}
		exe, err := dev.Compile("test", cmds)
		if err != nil {
			t.Fatal(err)
		}
		defer exe.Release()
		if err := dev.Submit(device.Work{Run: exe}); err != nil {
			t.Fatal(err)
		}
		raw, err := dev.Read(report.Buf, 0, cases)
		if err != nil {
			t.Fatal(err)
		}
		for i, w := range want {
			if got := binary.LittleEndian.Uint32(raw[4*i:]); got != w {
				t.Errorf("%s: case %d: element %d, want %d", dev.Info().Backend, i, got, w)
			}
		}
	}
}
