package replay

import (
	"math"

	"llamatab/engine/data"
	"llamatab/engine/fsdp"
	"llamatab/engine/message"
	"llamatab/engine/report"
)

// Batches calls f for each micro-batch of a dataset, in file order. first is the number of its first row.
func (s *Setup) Batches(ds *data.Dataset, f func(first int, b *data.Batch) error) error {
	for first := 0; first < ds.Len(); first += s.BatchRows {
		b, err := s.BatchFrom(ds, first)
		if err == nil {
			err = f(first, b)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// BatchFrom is the micro-batch of an evaluation whose first row has number first.
func (s *Setup) BatchFrom(ds *data.Dataset, first int) (*data.Batch, error) {
	rows, err := ds.Range(first, min(first+s.BatchRows, ds.Len()))
	if err != nil {
		return nil, err
	}
	longest := 0
	for _, r := range rows {
		longest = max(longest, len(r.IDs))
	}
	return s.BatchOf(rows, s.LengthFor(longest)), nil
}

// Measured is the result of an evaluation.
type Measured struct {
	Loss         float64        // the mean over all counted tokens, or over the rows of a classification
	Tokens       int            // the counted tokens, or the rows of a classification
	Accuracy, F1 *message.Float // of a classification, else nil
}

// AddTo writes the result into the metrics of a step.
func (m Measured) AddTo(step *message.Step) {
	loss := message.Float(m.Loss)
	step.EvalLoss, step.Perplexity = &loss, Perplexity(m.Loss)
	step.EvalAccuracy, step.EvalF1 = m.Accuracy, m.F1
}

// Measure evaluates a dataset: the mean loss, and the scores of a classifier.
func (s *Setup) Measure(ds *data.Dataset, st *Stepper, h report.Host) (m Measured, err error) {
	p := report.NewProgress(h, "eval", "rows", int64(ds.Len()))
	sum, confusion := 0.0, fsdp.Confusion{}
	err = s.Batches(ds, func(first int, b *data.Batch) error {
		l, err := st.LossSum([]*data.Batch{b})
		if err == nil && s.Model.Decoder.Classes > 0 {
			err = st.CountPredictions(confusion, b)
		}
		sum, m.Tokens = sum+l, m.Tokens+b.Tokens
		p.Update(int64(min(first+s.BatchRows, ds.Len())), "")
		return err
	})
	if err == nil && m.Tokens == 0 {
		err = report.Fail("data", report.ExitConfig, "Choose rows with labels that are not all -100.", fault("nothing_evaluated", "none of the {rows} rows has a token that an evaluation counts", "rows", ds.Len()))
	}
	if err != nil {
		return m, err
	}
	if m.Loss = sum / float64(m.Tokens); s.Model.Decoder.Classes > 0 {
		accuracy, f1 := confusion.Scores()
		m.Accuracy, m.F1 = (*message.Float)(&accuracy), (*message.Float)(&f1)
	}
	return m, nil
}

// Perplexity is exp(loss) of a mean loss in nats.
func Perplexity(loss float64) *message.Float {
	p := message.Float(math.Exp(loss))
	return &p
}
