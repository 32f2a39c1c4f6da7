package memory

import (
	"fmt"
	"slices"

	"llamatab/engine/nn"
	"llamatab/engine/pretrained"
	"llamatab/engine/quant"
	"llamatab/engine/report"
	"llamatab/engine/tensor"
	"llamatab/engine/weights"
)

// into returns where Load and Upload store the values of key, and their type: the whole parameter, or while LoadShard runs
// the piece that the shard has of it.
func (m *Parameters) into(key any) (Piece, tensor.DType, error) {
	if p, ok := key.(*nn.Param); ok && p.Trainable && m.Layout.Lanes != nil {
		return m.pieces[p], tensor.F32, nil // of length 0 if the shard has nothing of p
	}
	dst, err := m.master(key)
	if err != nil {
		return Piece{}, 0, err
	}
	return Piece{Slice: dst}, dst.Buf.Spec().DType, nil
}

// Upload copies a tensor of a file into the memory of key in chunks, converted to the type of that memory. shape is the
// parameter's, whose file may hold it transposed. done is called with the number of bytes of each chunk. A value that is
// not finite is an error, because it would spread to everything that is computed.
func (m *Parameters) Upload(key any, shape tensor.Shape, transposed bool, c *weights.Checkpoint, name string, done func(int64)) error {
	dst, to, err := m.into(key)
	if err != nil {
		return err
	}
	t, ok := c.Tensor(name)
	if !ok {
		return fmt.Errorf("tensor %q is missing", name)
	}
	packer := m.packer(key, dst)
	if transposed {
		h, err := c.ReadF32(t)
		if err != nil {
			return err
		}
		done(t.Bytes)
		return m.write(key, tensor.Transpose(h.Data, t.Shape[0], t.Shape[1]))
	}
	m.mastersNewer = true
	size := int64(t.DType.Size())
	rounded := m.rounds(key)
	var floats []float32
	var out []byte
	err = c.ReadChunks(t, pretrained.ChunkBytes, func(offset int64, chunk []byte) error {
		if i := tensor.FirstNonFinite(chunk, t.DType); i >= 0 {
			return report.Fail("weights", report.ExitFailed, "The file is damaged or was saved from a run that diverged: use another checkpoint.",
				fmt.Errorf("%s: tensor %q: element %d is not a finite number", t.File, name, offset/size+int64(i)))
		}
		done(int64(len(chunk)))
		if t.DType != to || rounded {
			n := len(chunk) / int(size)
			floats = append(floats[:0], make([]float32, n)...)
			if err := tensor.DecodeF32(floats, chunk, t.DType); err != nil {
				return err
			}
			if packer != nil {
				return packer.add(int(offset/size), floats)
			}
			if rounded {
				if err := tensor.Round(floats, m.frozenType); err != nil {
					return err
				}
			}
			out = tensor.EncodeF32(out[:0], floats, to)
			chunk = out
		}
		return m.put(dst, int(offset/size), chunk)
	})
	if err == nil && packer != nil {
		err = packer.Close()
	}
	return err
}

// packer quantises a parameter while it is loaded.
type packer struct {
	*quant.Packer
	m *Parameters
}

// packer is nil for a parameter that is not quantised.
func (m *Parameters) packer(key any, dst Piece) *packer {
	p, ok := key.(*nn.Param)
	if !ok || p.Quant == quant.Plain {
		return nil
	}
	return &packer{m: m, Packer: quant.NewPacker(p.Quant, p.Shape[0], p.Shape[1], func(word int, data []byte) error {
		return m.dev.Write(dst.Buf, dst.Off+word, data)
	})}
}

// add packs the values from index at on. The fingerprint is that of the values before they are quantised.
func (p *packer) add(at int, x []float32) error {
	if s := p.m.sampling; s != nil {
		if err := s.add(at, tensor.EncodeF32(nil, x, tensor.F32), tensor.F32); err != nil {
			return err
		}
	}
	return p.Add(x)
}

// rounds reports whether key is a frozen parameter that is stored as float32 and whose values are rounded (RoundFrozen).
func (m *Parameters) rounds(key any) bool {
	p, ok := key.(*nn.Param)
	return ok && !p.Trainable && p.Quant == quant.Plain && p.DType == tensor.F32 && m.frozenType != tensor.F32
}

// put writes the part of data that dst holds. data begins at element off of the parameter. A device writes whole words of
// 4 bytes, so put adds 2 bytes if data ends within a word and is not the end of the buffer.
func (m *Parameters) put(dst Piece, off int, data []byte) error {
	if dst.Len == 0 {
		return nil
	}
	spec := dst.Buf.Spec()
	size := spec.DType.Size()
	from, to := max(off, dst.At), min(off+len(data)/size, dst.At+dst.Len)
	if from >= to {
		return nil
	}
	if m.sampling != nil {
		if err := m.sampling.add(off, data, spec.DType); err != nil {
			return err
		}
	}
	data, off = data[size*(from-off):size*(to-off)], from-dst.At
	if end := dst.Off + off + len(data)/spec.DType.Size(); len(data)%4 != 0 && end < spec.Len {
		data = append(slices.Clip(data), 0, 0)
	}
	return m.dev.Write(dst.Buf, dst.Off+off, data)
}

// write stores the values of key.
func (m *Parameters) write(key any, x []float32) error {
	dst, to, err := m.into(key)
	if err != nil {
		return err
	}
	m.mastersNewer = true
	if packer := m.packer(key, dst); packer != nil {
		if err := packer.add(0, x); err != nil {
			return err
		}
		return packer.Close()
	}
	if m.rounds(key) {
		if err := tensor.Round(x, m.frozenType); err != nil {
			return err
		}
	}
	return m.put(dst, 0, tensor.EncodeF32(nil, x, to))
}

// LoadShard is Load for the pieces of trained parameters that a shard of them holds.
func (m *Parameters) LoadShard(pieces map[*nn.Param]Piece, model *pretrained.Model, params []*nn.Param, h report.Host) error {
	m.pieces = pieces
	defer func() { m.pieces = nil }()
	return m.Load(model, params, h)
}

// Load stores the first values of parameters: from the base model, the adapter, or drawn by the method (pretrained.Source).
// Trained parameters that lie in lanes are left out, except by LoadShard.
func (m *Parameters) Load(model *pretrained.Model, params []*nn.Param, h report.Host) error {
	source := model.Sources()
	params = slices.DeleteFunc(slices.Clone(params), func(p *nn.Param) bool {
		return p.Trainable && m.Layout.Lanes != nil && m.pieces[p].Len == 0
	})
	var total, done int64
	for _, p := range params {
		total += source(p).Bytes()
	}
	progress := report.NewProgress(h, "load", "bytes", total)
	for _, p := range params {
		src := source(p)
		if src.File == nil {
			x, err := model.FirstValues(src.Adapter, p)
			if err == nil {
				err = m.write(p, x)
			}
			if err != nil {
				return report.Fail("peft", report.ExitConfig, "Change how the adapter starts.", fmt.Errorf("first values of %s: %w", p.Name, err))
			}
			continue
		}
		var err error
		if subtract := model.Residual(p); subtract != nil && src.File == model.Base {
			err = m.UploadResidual(p, model, subtract)
		} else {
			if !p.Trainable && src.Adapter == nil {
				m.sampling = newFingerprint(p.Name, p.Shape.Size())
			}
			err = m.Upload(p, p.Shape, p.Transposed, src.File, src.Name, func(n int64) { done += n; progress.Update(done, p.Name) })
		}
		if m.sampling != nil {
			m.sampled[p], m.sampling = m.sampling.sum, nil
		}
		if err != nil {
			return report.Fail("weights", report.ExitFailed, pretrained.ModelHint, fmt.Errorf("loading %s: %w", p.Name, err))
		}
	}
	progress.Update(total, "")
	return nil
}

// UploadResidual stores a base weight after subtract has taken the adapter's first product from it. key has the name and
// shape of the base weight.
func (m *Parameters) UploadResidual(key *nn.Param, model *pretrained.Model, subtract func([]float32)) error {
	x, err := model.BaseValues(key)
	if err != nil {
		return err
	}
	subtract(x)
	return m.write(key, x)
}
