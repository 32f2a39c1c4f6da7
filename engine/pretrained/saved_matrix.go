package pretrained

import (
	"fmt"
	"io/fs"
	"strings"

	"llamatab/engine/adapterdir"
	"llamatab/engine/nn"
	"llamatab/engine/peft"
	"llamatab/engine/report"
	"llamatab/engine/weights"
)

// asPEFT opens an adapter's folder. The folder that it returns has PEFT's keys.
func (m *Model) asPEFT(fsys fs.FS) (fs.FS, error) {
	fsys, remarks, err := adapterdir.Open(fsys)
	if err != nil {
		return nil, report.Fail("adapter", report.ExitConfig, "Save the adapter with PEFT's save_pretrained.", fmt.Errorf("adapter: %w", err))
	}
	m.Remarks = append(m.Remarks, remarks...)
	return fsys, nil
}

// savedMatrix returns the embedding or head that PEFT has saved under a key although no setting asks for it, nil for none. PEFT
// does so if they are adapted or the vocabulary was resized.
func (m *Model) savedMatrix(a *Adapter, key string) *nn.Param {
	path, ok := strings.CutPrefix(key, a.Method.Prefix)
	if !ok {
		return nil
	}
	switch strings.Replace(path, ofBase, "", 1) {
	case m.Decoder.Embedding.Name:
		return m.Decoder.Embedding
	case lmHeadWeight:
		if m.Decoder.Classes == 0 && m.Decoder.Head.Path+".weight" == lmHeadWeight {
			return m.Decoder.Head.Weight
		}
	}
	return nil
}

// addSavedMatrix makes such a matrix replace the base model's, as PEFT does. A matrix that equals the base model's is left out.
// It returns why the matrix does not fit, "" if it does.
func (m *Model) addSavedMatrix(a *Adapter, key string) (wrong string, err error) {
	p, file := m.savedMatrix(a, key), a.files[adapterFile]
	t, _ := file.Tensor(key)
	if shape := p.FileShape(); len(t.Shape) == 2 && t.Shape[0] != shape[0] && t.Shape[1] == shape[1] {
		return fmt.Sprintf("%q was saved with a vocabulary of %d tokens, the model has %d: resize the base's embedding to that size, save it, and load the adapter on it",
			key, t.Shape[0], shape[0]), nil
	}
	if msg := Mismatch(file, key, p.FileShape()); msg != "" {
		return msg, nil
	}
	head := a.Method.Prefix + lmHeadWeight
	if _, both := file.Tensor(head); m.Decoder.Tied && both && key != head {
		return "", nil // PEFT loads a tied matrix under both names, the head's last
	}
	if m.Base != nil {
		base, ok := m.Base.Tensor(p.From())
		if !ok {
			return fmt.Sprintf("%q has no counterpart in the base", key), nil
		}
		same, err := weights.Same(file, t, m.Base, base)
		if err != nil {
			return "", err
		}
		if same {
			m.remark("weight_repeated", "adapter: {tensor} repeats a weight of the base model and is left out", "tensor", key)
			return "", nil
		}
	}
	a.fromBase = append(a.fromBase, peft.Tensor{Key: key, Param: p})
	m.remark("adapter_brings_base", "adapter: {tensor} differs from the base model's and takes its place, as in PEFT", "tensor", key)
	return "", nil
}
