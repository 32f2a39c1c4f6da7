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

// classLogitsKey is the key of a classifier's logits (rows of a micro-batch, classes) in an evaluation.
type classLogitsKey struct{}

func (s *Setup) classLogitsSpec() device.Spec {
	return device.Spec{Len: s.BatchRows * s.Model.Decoder.Classes, Kind: device.Staging, Label: "logits of classes"}
}

// CountPredictions adds the rows of the micro-batch that was evaluated last to a confusion matrix. The predicted class of a
// row is the one with the highest logit, the lowest number among equals.
func (st *Stepper) CountPredictions(counts fsdp.Confusion, b *data.Batch) error {
	logits, err := st.readClasses()
	if err != nil {
		return err
	}
	for row, truth := range b.Classes {
		if truth == data.Ignore {
			continue
		}
		predicted, highest := 0, math.Inf(-1)
		for class, l := range logits[row] {
			if l > highest {
				predicted, highest = class, l
			}
		}
		counts[fsdp.ClassPair{Truth: int(truth), Predicted: predicted}]++
	}
	return nil
}

// readClasses reads the logits (rows, classes) of the micro-batch that was evaluated last.
func (st *Stepper) readClasses() ([][]float64, error) {
	n := st.Setup.Model.Decoder.Classes
	raw, err := st.Dev.Read(st.classLogits, 0, st.Setup.BatchRows*n)
	if err != nil {
		return nil, err
	}
	return slices.Collect(slices.Chunk(floatsOf(raw), n)), nil
}

// UnlabelledSample is a row of tokens to classify. Its true class is not known, and ClassScores does not use it.
func UnlabelledSample(ids []int) data.Sample {
	s := data.Sample{IDs: make([]int32, len(ids))}
	for i, id := range ids {
		s.IDs[i] = int32(id)
	}
	return s
}

// ClassScores returns the probability of each class for a text, the softmax of its logits, the highest first.
func (s *Setup) ClassScores(st *Stepper, text data.Sample) ([]message.Score, error) {
	if _, err := st.LossSum([]*data.Batch{s.BatchOf([]data.Sample{text}, s.LengthFor(len(text.IDs)))}); err != nil {
		return nil, err
	}
	rows, err := st.readClasses()
	if err != nil {
		return nil, err
	}
	logits := rows[0]
	highest, sum := slices.Max(logits), 0.0
	for _, l := range logits {
		sum += math.Exp(l - highest)
	}
	scores := make([]message.Score, len(logits))
	for class, l := range logits {
		scores[class] = message.Score{Class: class, Label: s.Model.ClassName(class), Score: message.Float(math.Exp(l-highest) / sum)}
	}
	slices.SortStableFunc(scores, func(a, b message.Score) int { return cmp.Compare(b.Score, a.Score) })
	return scores, nil
}
