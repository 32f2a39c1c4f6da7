package graph_test

import (
	"math"
	"testing"

	"llamatab/engine/device"
	"llamatab/engine/device/cpu"
	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
	"llamatab/engine/op"
	"llamatab/engine/tensor"
)

// rounded are stackCase's blocks with activations of type d; the inputs are of type d already.
func rounded(d tensor.DType, checkpointed ...bool) enginetest.Case {
	const n, c = 5, 8
	r := enginetest.NewRand(1)
	narrow := func(in enginetest.Input) enginetest.Input {
		x := make([]float32, len(in.Floats))
		if err := tensor.DecodeF32(x, tensor.EncodeF32(nil, in.Floats, d), d); err != nil {
			panic(err)
		}
		in.Floats = x
		return in
	}
	angles := enginetest.Input{Shape: tensor.Of(n, 2, 2), Floats: op.RopeTable([]float64{1, 0.1}, 1, 0, n), Frozen: true}
	return enginetest.Case{
		Name: d.String(), Tol: enginetest.Reduce(64),
		In: []enginetest.Input{narrow(r.F(n, c)), narrow(r.F(c, c)), r.F(c), angles, enginetest.Ints([]int32{0, 1, 2, 3, 4}, n), enginetest.Ints([]int32{3, 4}, 2)},
		Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
			t.Store(d)
			return []graph.Var{stack(t, in, checkpointed...)}
		},
	}
}

// What an op hands on is of the stored type, whether blocks are computed again or not.
func TestStoreRounds(t *testing.T) {
	for _, d := range []tensor.DType{tensor.BF16, tensor.F16} {
		for _, dev := range enginetest.Devices(t) {
			plain := enginetest.Outputs(t, dev, rounded(d, false, false, false))[0]
			again := enginetest.Outputs(t, dev, rounded(d, true, false, true))[0]
			full := enginetest.Outputs(t, dev, rounded(tensor.F32, false, false, false))[0]
			differ := false
			for i, v := range plain {
				var back [1]float32
				if err := tensor.DecodeF32(back[:], tensor.EncodeF32(nil, []float32{float32(v)}, d), d); err != nil {
					t.Fatal(err)
				}
				if float64(back[0]) != v || again[i] != v {
					t.Errorf("%s on %s: element %d is %v, rounded %v, with checkpoints %v", d, dev.Info().Backend, i, v, back[0], again[i])
				}
				if math.Abs(v-full[i]) > 0.05*math.Max(1, math.Abs(full[i])) {
					t.Errorf("%s on %s: element %d is %v, in float32 %v", d, dev.Info().Backend, i, v, full[i])
				}
				differ = differ || v != full[i]
			}
			if !differ {
				t.Errorf("%s on %s: nothing was rounded", d, dev.Info().Backend)
			}
		}
	}
}

// TestStoreGradients: where rounding has nothing to round, gradients through packed values are those without.
func TestStoreGradients(t *testing.T) {
	grads := func(d tensor.DType) (x, w []float64, plan graph.Plan) {
		tape := graph.NewTape()
		tape.Store(d)
		in := tape.Extern(graph.Extern{Key: "x", Shape: tensor.Of(4, 6), GradKey: "dx"})
		weight := tape.Extern(graph.Extern{Key: "w", Shape: tensor.Of(6, 6), GradKey: "dw"})
		h := in
		for range 3 {
			h = op.Linear(tape, []op.Term{{X: op.Scale(tape, h, 2), W: weight, Scale: 1}}, nil)
		}
		dy := tape.New(h.Shape)
		tape.Copy(dy, tape.Extern(graph.Extern{Key: "dy", Shape: h.Shape}))
		tape.Seed(h, dy)
		tape.Backward()
		dev := cpu.New()
		bufs := map[any]device.Buffer{}
		for _, e := range tape.Externs() {
			bufs[e.Key], _ = dev.Alloc(device.Spec{Len: e.Shape.Size(), Label: e.Name})
		}
		for i := range 6 { // W = I: all values are small integers
			cpu.Floats(bufs["w"])[7*i] = 1
		}
		for i := range 24 {
			cpu.Floats(bufs["x"])[i], cpu.Floats(bufs["dy"])[i] = float64(i%5-2), float64(i%3)+0.3
		}
		plan = tape.Plan()
		pool, err := graph.NewPool(dev, plan)
		if err != nil {
			t.Fatal(err)
		}
		p, err := tape.Compile(dev, "test", pool, graph.Binder{Extern: func(key any) (device.Slice, error) { return device.All(bufs[key]), nil }})
		if err != nil {
			t.Fatal(err)
		}
		if err := dev.Submit(device.Work{Run: p.Executable}); err != nil {
			t.Fatal(err)
		}
		return cpu.Floats(bufs["dx"]), cpu.Floats(bufs["dw"]), plan
	}
	wantX, wantW, plain := grads(tensor.F32)
	gotX, gotW, packed := grads(tensor.BF16)
	for i := range wantX {
		if gotX[i] != wantX[i] {
			t.Errorf("dx[%d] is %v, want %v", i, gotX[i], wantX[i])
		}
	}
	for i := range wantW {
		if gotW[i] != wantW[i] {
			t.Errorf("dw[%d] is %v, want %v", i, gotW[i], wantW[i])
		}
	}
	if len(plain.Packed) != 0 || len(packed.Packed) != 3 || packed.Packed[0] != 2*24 { // what the three products read
		t.Errorf("packed slots %v and %v", plain.Packed, packed.Packed)
	}
}

// A part of a packed extern is read as it lies where that can be bound and the kernel knows packed numbers, and unpacked
// otherwise; one that is changed in place is unpacked anew.
func TestPackedViews(t *testing.T) {
	for _, d := range []tensor.DType{tensor.BF16, tensor.F16} {
		for _, c := range []int{3, 4} { // 64 rows of 3 numbers of two bytes are no multiple of 256 bytes
			r := enginetest.NewRand(uint64(c))
			packed, x := r.Frozen(100, c), r.F(5, c)
			packed.DType = d
			e := enginetest.Case{
				Name: d.String(), In: []enginetest.Input{x, packed}, NoGradient: true,
				Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
					part := t.Rows(in[1], 64, 100)
					y := op.Linear(t, []op.Term{{X: in[0], W: part, Scale: 1}}, nil)
					before := op.Scale(t, part, 1)
					op.Pack(t, op.Scale(t, in[1], 2), in[1])
					return []graph.Var{y, before, op.Scale(t, part, 1)}
				},
			}
			for _, dev := range enginetest.Devices(t) {
				out := enginetest.Outputs(t, dev, e)
				w := packed.Floats[64*c:]
				if err := tensor.Round(w, d); err != nil {
					t.Fatal(err)
				}
				for i, v := range w {
					if before, after := out[1][i], out[2][i]; before != float64(v) || after != 2*float64(v) {
						t.Errorf("%s on %s: element %d is %v, then %v, want %v and twice that", d, dev.Info().Backend, i, before, after, v)
					}
				}
				for i, y := range out[0] {
					want := 0.0
					for k := range c {
						want += float64(x.Floats[i/36*c+k]) * float64(w[i%36*c+k])
					}
					if math.Abs(y-want) > 1e-5 {
						t.Errorf("%s on %s: product %d is %v, want %v", d, dev.Info().Backend, i, y, want)
					}
				}
			}
		}
	}
}
