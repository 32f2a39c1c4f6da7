package memory

import (
	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/nn"
	"llamatab/engine/peft"
	"llamatab/engine/plan"
	"llamatab/engine/pretrained"
	"llamatab/engine/quant"
	"llamatab/engine/tensor"
)

// ReadTrainedWith makes Stream take the float32 values of trained parameters from read. A rank that owns only a shard of
// them gets the rest from the room.
func (m *Parameters) ReadTrainedWith(read func(p *nn.Param) ([]byte, error)) { m.remote = read }

// AddWhole allocates memory for a whole trained parameter and fills it with the values that ReadTrainedWith's function
// returns. Compute needs it where the parameter's own memory is a lane.
func (m *Parameters) AddWhole(p *nn.Param) error {
	b, err := m.dev.Alloc(plan.FrozenSpec(p))
	if err != nil {
		return err
	}
	m.buffers, m.slices[p] = append(m.buffers, b), device.All(b)
	data, err := m.remote(p)
	if err == nil && p.DType != tensor.F32 {
		x := make([]float32, len(data)/4)
		if err = tensor.DecodeF32(x, data, tensor.F32); err == nil {
			data = tensor.EncodeF32(nil, x, p.DType)
		}
	}
	if err != nil {
		return err
	}
	return m.put(Piece{Slice: device.All(b)}, 0, data)
}

// Stream passes the values of key to fn in chunks, as little-endian float32, row-major in shape or in its transpose.
func (m *Parameters) Stream(key any, shape tensor.Shape, transposed bool, fn func([]byte) error) error {
	if p, ok := key.(*nn.Param); ok && p.Trainable && m.remote != nil {
		data, err := m.remote(p)
		if err == nil && transposed {
			x := make([]float32, len(data)/4)
			if err = tensor.DecodeF32(x, data, tensor.F32); err == nil {
				data = tensor.EncodeF32(nil, tensor.Transpose(x, shape[0], shape[1]), tensor.F32)
			}
		}
		if err != nil {
			return err
		}
		return fn(data)
	}
	src, err := m.master(key)
	if err != nil {
		return err
	}
	if p, ok := key.(*nn.Param); ok && p.Quant != quant.Plain {
		return m.streamQuantized(p, src, transposed, fn)
	}
	step := pretrained.ChunkBytes / 4
	if transposed {
		step = src.Len
	}
	for at := 0; at < src.Len; at += step {
		n := min(step, src.Len-at)
		data, err := m.dev.Read(src.Buf, src.Off+at, n)
		if err != nil {
			return err
		}
		if d := src.Buf.Spec().DType; d != tensor.F32 || transposed {
			x := make([]float32, n)
			if err := tensor.DecodeF32(x, data, d); err != nil {
				return err
			}
			if transposed {
				x = tensor.Transpose(x, shape[0], shape[1])
			}
			data = tensor.EncodeF32(nil, x, tensor.F32)
		}
		if err := fn(data); err != nil {
			return err
		}
	}
	return nil
}

// streamQuantized is Stream for a quantised matrix: the values that programs compute with.
func (m *Parameters) streamQuantized(p *nn.Param, src device.Slice, transposed bool, fn func([]byte) error) error {
	data, err := m.dev.Read(src.Buf, src.Off, src.Len)
	if err != nil {
		return err
	}
	rows, cols := p.Shape[0], p.Shape[1]
	x := make([]float32, rows*cols)
	p.Quant.UnpackBytes(x, data, rows, cols)
	if transposed {
		x = tensor.Transpose(x, rows, cols)
	}
	return fn(tensor.EncodeF32(nil, x, tensor.F32))
}

// computedKey is the key of a computed tensor's memory on a tape.
type computedKey struct{}

// Compute returns the shape and the float32 values of a tensor that is a function of trained parameters.
func (m *Parameters) Compute(t peft.Tensor) (tensor.Shape, []byte, error) {
	var shape tensor.Shape
	tape := graph.NewInferenceTape()
	if err := graph.Record(func() {
		y := t.Computed(tape)
		shape = y.Shape
		tape.Copy(tape.Extern(graph.Extern{Key: computedKey{}, Shape: shape, Name: t.Key}), y)
	}); err != nil {
		return nil, nil, err
	}
	data, err := m.run(tape, t.Key, shape.Size())
	return shape, data, err
}

// run replays a tape once and reads the n values that it leaves under computedKey.
func (m *Parameters) run(tape *graph.Tape, label string, n int) ([]byte, error) {
	out, err := m.dev.Alloc(device.Spec{Len: n, Kind: device.Activations, Label: label})
	if err != nil {
		return nil, err
	}
	defer m.dev.Free(out)
	pool, err := graph.NewPool(m.dev, tape.Plan())
	if err != nil {
		return nil, err
	}
	defer pool.Free()
	prog, err := tape.Compile(m.dev, label, pool, graph.Binder{Prepare: m.tuner.Prepare, Choose: m.tuner.Choose, Extern: func(key any) (device.Slice, error) {
		if _, ok := key.(computedKey); ok {
			return device.All(out), nil
		}
		return m.Find(key)
	}})
	if err != nil {
		return nil, err
	}
	defer prog.Release()
	if err := m.dev.Submit(device.Work{Run: prog.Executable}); err != nil {
		return nil, err
	}
	return m.dev.Read(out, 0, n)
}
