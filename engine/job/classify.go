package job

import (
	"context"
	"encoding/json"
	"fmt"

	"llamatab/engine/data"
	"llamatab/engine/message"
	"llamatab/engine/pretrained"
	"llamatab/engine/replay"
	"llamatab/engine/report"
)

// classify labels the prompt of a generate job with a classifier.
func (j *Job) classify(ctx context.Context, s *replay.Setup) error {
	g := j.Job.Generate
	ids, err := encodeText(s, g.Prompt)
	if err != nil {
		return err
	}
	if most := s.Model.Decoder.MaxPositions - s.Model.Decoder.Virtual(); len(ids) > most {
		return report.Fail("prompt", report.ExitConfig, "Shorten the prompt.", fmt.Errorf("generate: the prompt has %d tokens, the model's context is %d", len(ids), most))
	}
	s.Train = &data.Dataset{Name: "prompt", Samples: []data.Sample{replay.UnlabelledSample(ids)}}
	s.Valid = s.Train
	var scores []message.Score
	if err := j.withModels(ctx, s, func(_ *pretrained.Adapter, st *replay.Stepper) error {
		if err := st.Build(j.Host); err != nil {
			return err
		}
		scores, err = s.ClassScores(st, s.Train.Samples[0])
		return err
	}); err != nil {
		return err
	}
	result, err := json.Marshal(message.Classification{Prompt: g.Prompt, PromptIDs: ids, Label: scores[0].Label, Scores: scores})
	j.Host.Emit(message.Envelope{Type: "result", Result: result})
	return err
}
