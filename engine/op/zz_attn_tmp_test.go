package op

import (
	"fmt"
	"os"
	"testing"
	"time"

	"llamatab/engine/device"
	"llamatab/engine/enginetest"
	"llamatab/engine/tensor"
)

func TestZZ(t *testing.T) {
	devs := enginetest.Devices(t)
	dev := devs[len(devs)-1]
	if dev.Info().Backend == "cpu" {
		t.Skip()
	}
	for _, s := range []AttentionShape{
		{B: 4, T: 128, Heads: 8, KVHeads: 4, HeadDim: 8, Scale: 0.3},
		{B: 2, T: 128, Heads: 8, KVHeads: 4, HeadDim: 32, Scale: 0.1},
		{B: 1, T: 256, Heads: 9, KVHeads: 3, HeadDim: 64, Scale: 0.1},
		{B: 1, T: 128, Heads: 4, KVHeads: 2, HeadDim: 128, Scale: 0.1},
	} {
		d := s.dims("x")
		for _, k := range []*device.Kernel{attentionForward, attentionBackwardQ, attentionBackwardKV} {
			sizes := map[string]int{"q": s.B * s.T * s.Heads * s.HeadDim, "k": s.B * s.T * s.KVHeads * s.HeadDim, "positions": s.B * s.T, "stats": 2 * s.B * s.T * s.Heads, "lse": s.B * s.T * s.Heads}
			var args []device.Slice
			for _, b := range k.Bindings {
				name := map[string]string{"o": "q", "do": "q", "dq": "q", "v": "k", "dk": "k", "dv": "k"}[b.Name]
				if name == "" {
					name = b.Name
				}
				dt := tensor.F32
				if name == "positions" {
					dt = tensor.I32
				}
				buf, _ := dev.Alloc(device.Spec{DType: dt, Len: sizes[name]})
				var data []byte
				if dt == tensor.I32 {
					for i := range sizes[name] {
						data = append(data, byte(i%s.T), byte(i%s.T>>8), 0, 0)
					}
				} else {
					data = tensor.EncodeF32(nil, enginetest.NewRand(1).Floats(sizes[name], 1), tensor.F32)
				}
				dev.Write(buf, 0, data)
				args = append(args, device.All(buf))
			}
			probe := &device.Launch{Kernel: k, Dims: d, Args: args}
			for _, v := range enginetest.Fitting(dev, probe) {
				l := &device.Launch{Kernel: k, Params: s.params(), Dims: d, Args: args}
				l.Use(v)
				t0 := time.Now()
				exe, err := dev.Compile("x", []device.Command{{Launch: l}})
				if err != nil {
					t.Fatal(err)
				}
				dev.Submit(device.Work{Run: exe})
				dev.Sync()
				compile := time.Since(t0)
				best := time.Hour
				for range 4 {
					t0 = time.Now()
					dev.Submit(device.Work{Run: exe})
					dev.Sync()
					best = min(best, time.Since(t0))
				}
				fmt.Fprintf(os.Stderr, "T%d D%d %s %s: first %v, run %v, %.2f GFLOP/s\n", s.T, s.HeadDim, k.Name, v.Name, compile.Round(time.Millisecond), best.Round(10*time.Microsecond), k.Flops(d)/best.Seconds()/1e9)
			}
		}
	}
}
