package replay

import (
	"cmp"
	"math"
	"slices"

	"llamatab/engine/data"
	"llamatab/engine/device"
	"llamatab/engine/fsdp"
	"llamatab/engine/message"
)

// classLogitsKey is the buffer of a classifier's logits (rows of a micro-batch, classes) in an evaluation.
type classLogitsKey struct{}

func (s *Setup) classLogitsSpec() device.Spec {
	return device.Spec{Len: s.BatchRows * s.Model.Decoder.Classes, Class: device.Staging, Label: "logits of classes"}
}

// Judged adds what a classifier said of the rows of a micro-batch whose logits are on the device.
func (st *Stepper) Judged(v fsdp.Verdicts, b *data.Batch) error {
	logits, err := st.readClasses()
	if err != nil {
		return err
	}
	for row, truth := range b.Classes {
		if truth == data.Ignore {
			continue
		}
		best, most := 0, math.Inf(-1)
		for class, l := range logits[row] {
			if l > most {
				best, most = class, l
			}
		}
		v[fsdp.Said{Truth: int(truth), Said: best}]++
	}
	return nil
}

// readClasses reads the logits of the micro-batch that was evaluated last, by row and class.
func (st *Stepper) readClasses() ([][]float64, error) {
	n := st.Setup.Model.Decoder.Classes
	raw, err := st.Dev.Read(st.classLogits, 0, st.Setup.BatchRows*n)
	if err != nil {
		return nil, err
	}
	return slices.Collect(slices.Chunk(floatsOf(raw), n)), nil
}

// TextSample is a text to be judged. Its class, which an evaluation compares with, is of no interest.
func TextSample(ids []int) data.Sample {
	s := data.Sample{IDs: make([]int32, len(ids))}
	for i, id := range ids {
		s.IDs[i] = int32(id)
	}
	return s
}

// ScoresOf are the probabilities of the classes for a text: the softmax of its logits, the likeliest first.
func (s *Setup) ScoresOf(st *Stepper, text data.Sample) ([]message.Score, error) {
	if _, err := st.LossSum([]*data.Batch{s.BatchOf([]data.Sample{text}, s.LengthFor(len(text.IDs)))}); err != nil {
		return nil, err
	}
	rows, err := st.readClasses()
	if err != nil {
		return nil, err
	}
	logits := rows[0]
	most, sum := slices.Max(logits), 0.0
	for _, l := range logits {
		sum += math.Exp(l - most)
	}
	scores := make([]message.Score, len(logits))
	for class, l := range logits {
		scores[class] = message.Score{Class: class, Label: s.Model.ClassName(class), Score: message.Float(math.Exp(l-most) / sum)}
	}
	slices.SortStableFunc(scores, func(a, b message.Score) int { return cmp.Compare(b.Score, a.Score) })
	return scores, nil
}
