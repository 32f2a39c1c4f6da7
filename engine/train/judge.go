package train

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"llamatab/engine/data"
	"llamatab/engine/message"
	"llamatab/engine/report"
)

// judge says to which class the prompt belongs: what generate does with a classifier.
func (j *Job) judge(s *Setup) error {
	g := j.Job.Generate
	ids, err := s.encode(g.Prompt)
	if err != nil {
		return err
	}
	if most := s.Decoder.MaxPositions - s.Decoder.Virtual(); len(ids) > most {
		return report.Fail("prompt", report.ExitConfig, "Shorten the prompt.", fmt.Errorf("generate: the prompt has %d tokens, the model's context is %d", len(ids), most))
	}
	s.Train = &data.Dataset{Name: "prompt", Samples: []data.Sample{textSample(ids)}}
	s.Valid = s.Train
	if err := s.plan(); err != nil {
		return err
	}
	st, closeAll, err := j.ready(s)
	if err != nil {
		return err
	}
	defer closeAll()
	if err := st.build(j.Host); err != nil {
		return err
	}
	scores, err := s.scoresOf(st, s.Train.Samples[0])
	if err != nil {
		return err
	}
	result, err := json.Marshal(message.Verdict{Prompt: g.Prompt, PromptIDs: ids, Label: scores[0].Label, Scores: scores})
	j.Host.Emit(message.Envelope{Type: "result", Result: result})
	return err
}

// textSample is a text to be judged. Its class, which an evaluation compares with, is of no interest.
func textSample(ids []int) data.Sample {
	s := data.Sample{IDs: make([]int32, len(ids))}
	for i, id := range ids {
		s.IDs[i] = int32(id)
	}
	return s
}

// scoresOf are the probabilities of the classes for a text: the softmax of its logits, the likeliest first.
func (s *Setup) scoresOf(st *stepper, text data.Sample) ([]message.Score, error) {
	if _, err := st.lossSum([]*data.Batch{s.batchOf([]data.Sample{text}, s.lengthFor(len(text.IDs)))}); err != nil {
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
		scores[class] = message.Score{Class: class, Label: s.className(class), Score: message.Float(math.Exp(l-most) / sum)}
	}
	slices.SortStableFunc(scores, func(a, b message.Score) int { return cmp.Compare(b.Score, a.Score) })
	return scores, nil
}

// className is what a class is called, as transformers does where nobody has said.
func (m *Model) className(class int) string {
	if class < len(m.Classes) {
		return m.Classes[class]
	}
	return fmt.Sprintf("LABEL_%d", class)
}
