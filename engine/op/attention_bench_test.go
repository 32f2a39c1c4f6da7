package op

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"llamatab/engine/device"
	"llamatab/engine/enginetest"
	"llamatab/engine/tensor"
)

// BenchmarkAttentionPacked measures each variant of the attention kernels over the same 1024 tokens: 16 documents packed
// into one row, and each in a row of its own. A packed row should cost no more.
func BenchmarkAttentionPacked(b *testing.B) {
	devs := enginetest.Devices(b)
	dev := devs[len(devs)-1]
	measure, ok := dev.(interface {
		Measure(work ...device.Work) (time.Duration, error)
	})
	if !ok {
		b.Skip("the reference device is no place to measure speed")
	}
	const documents, length = 16, 64
	s := AttentionShape{Heads: 9, KVHeads: 3, HeadDim: 64, Scale: 0.125}
	var positions []int32
	for range documents {
		positions = append(positions, counting(length)...)
	}
	for _, k := range []*device.Kernel{attentionForward, attentionBackwardQ, attentionBackwardKV} {
		for _, v := range k.Variants {
			for _, rows := range []int{1, documents} {
				s.B, s.T = rows, documents*length/rows
				d := s.dims(k.Name)
				if v.Fits != nil && !v.Fits(dev.Info(), dev.Limits(), d) {
					continue
				}
				b.Run(fmt.Sprintf("%s/%s/%d rows", k.Name, v.Name, rows), func(b *testing.B) {
					l := &device.Launch{Kernel: k, Dims: d, Params: d.params().With(device.Params{"WINDOW": false})}
					for _, binding := range k.Bindings {
						spec := device.Spec{Len: s.B * s.T * s.Heads * s.HeadDim, Label: binding.Name}
						if binding.Name == "positions" {
							spec.DType, spec.Len = tensor.I32, len(positions)
						}
						buf, err := dev.Alloc(spec)
						if err == nil && spec.DType == tensor.I32 {
							raw, _ := binary.Append(nil, binary.LittleEndian, positions)
							err = dev.Write(buf, 0, raw)
						}
						if err != nil {
							b.Fatal(err)
						}
						defer dev.Free(buf)
						l.Args = append(l.Args, device.All(buf))
					}
					l.Use(v)
					exe, err := dev.Compile(b.Name(), []device.Command{{Launch: l}})
					if err != nil {
						b.Fatal(err)
					}
					defer exe.Release()
					took, err := measure.Measure(device.Work{Run: exe})
					if err != nil {
						b.Fatal(err)
					}
					b.ReportMetric(took.Seconds()*1e3, "ms")
					b.ReportMetric(0, "ns/op")
				})
			}
		}
	}
}
