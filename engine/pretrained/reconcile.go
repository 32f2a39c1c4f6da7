package pretrained

import (
	"math"
	"slices"
	"strings"

	"llamatab/engine/message"
	"llamatab/engine/tensor"
	"llamatab/engine/weights"
)

// reconcile handles the file of a tied model that has the shared matrix as lm_head.weight, with or without the embedding, as
// transformers 5 does. If the two differ, the model is not tied.
func (m *Model) reconcile() error {
	d := m.Decoder
	if m.Base == nil || !d.Tied {
		return nil
	}
	embedding, hasEmbedding := m.Base.Tensor(d.Embedding.Name)
	head, hasHead := m.Base.Tensor(lmHeadWeight)
	switch {
	case !hasHead:
		return nil
	case !hasEmbedding:
		d.Embedding.Source = lmHeadWeight
		m.remark("tied_head_only", "the model is tied and its file holds {head} only: it is the embedding too", "head", lmHeadWeight)
		return nil
	}
	same, err := m.Base.Same(embedding, head)
	if err != nil || same {
		return err
	}
	own := d.Untie()
	own.Source = ""
	m.remark("tied_head_differs", "tie_word_embeddings is true, but the file holds {head} with other values than {embedding}: the two are not tied, as in transformers 5",
		"head", lmHeadWeight, "embedding", d.Embedding.Name)
	return nil
}

// leftOver checks the tensors of the base file that the model does not use. Buffers, which the model computes itself, become a
// remark. It returns the names of all other tensors.
func (m *Model) leftOver(used map[string]bool) (extra []string, err error) {
	var buffers []string
	for _, name := range m.Base.Names() {
		t, _ := m.Base.Tensor(name)
		switch {
		case used[name]:
		case name == lmHeadWeight:
			// A tied model's file may repeat the head, which reconcile has compared, and a classifier has another one;
			// transformers does not read it either.
		case strings.HasSuffix(name, ".rotary_emb.inv_freq"):
			if err := m.compareFrequencies(t); err != nil {
				return nil, err
			}
		case isBuffer(t):
			buffers = append(buffers, name)
		default:
			extra = append(extra, name)
		}
	}
	if buffers != nil {
		m.remark("buffers_left_out", "{tensors}: no weights of this model, left out, as in transformers", "tensors", list(buffers))
	}
	return extra, nil
}

// isBuffer reports whether a tensor is no weight of a Llama-family model: it holds no floats, or has the name of a cache or
// mask.
func isBuffer(t weights.Tensor) bool {
	if !t.DType.IsFloat() && !strings.HasPrefix(t.RawDType, "F") {
		return !strings.HasSuffix(t.Name, ".weight") && !strings.HasSuffix(t.Name, ".qweight") && !strings.HasSuffix(t.Name, ".qzeros")
	}
	last := t.Name[strings.LastIndexByte(t.Name, '.')+1:]
	return strings.Contains(t.Name, ".rotary_emb.") || slices.Contains([]string{"cos_cached", "sin_cached", "cos_cache", "sin_cache", "inv_freq", "masked_bias", "causal_mask", "position_ids"}, last)
}

// compareFrequencies compares the rotary frequencies of a file with those that follow from config.json. The model uses the
// latter. A difference becomes a remark.
func (m *Model) compareFrequencies(t weights.Tensor) error {
	if t.CheckFloat() != nil || t.Shape.Size() != len(m.Decoder.InvFreq) {
		m.remark("frequencies_differ", "{tensor} does not hold the rotary frequencies that config.json gives: it is left out, as in transformers", "tensor", t.Name)
		return nil
	}
	h, err := m.Base.ReadF32(t)
	if err != nil {
		return err
	}
	tolerance := 1e-5 // of float32
	if t.DType != tensor.F32 {
		tolerance = 1e-2
	}
	for j, f := range m.Decoder.InvFreq {
		if math.Abs(float64(h.Data[j])-f) > tolerance*f && !m.hasRemark("frequencies_differ") {
			m.remark("frequencies_differ", "{tensor} does not hold the rotary frequencies that config.json gives: it is left out, as in transformers", "tensor", t.Name)
		}
	}
	return nil
}

// hasRemark reports whether the model has a remark with a code.
func (m *Model) hasRemark(code string) bool {
	return slices.ContainsFunc(m.Remarks, func(r message.Remark) bool { return r.Code == code })
}

func (m *Model) remark(code, text string, pairs ...any) {
	m.Remarks = append(m.Remarks, message.NewRemark(code, text, pairs...))
}
