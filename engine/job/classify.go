package job

import (
	"encoding/json"
	"fmt"

	"llamatab/engine/data"
	"llamatab/engine/message"
	"llamatab/engine/replay"
	"llamatab/engine/report"
)

// judge says to which class the prompt belongs: what generate does with a classifier.
func (j *Job) judge(s *replay.Setup) error {
	g := j.Job.Generate
	ids, err := encodeText(s, g.Prompt)
	if err != nil {
		return err
	}
	if most := s.Model.Decoder.MaxPositions - s.Model.Decoder.Virtual(); len(ids) > most {
		return report.Fail("prompt", report.ExitConfig, "Shorten the prompt.", fmt.Errorf("generate: the prompt has %d tokens, the model's context is %d", len(ids), most))
	}
	s.Train = &data.Dataset{Name: "prompt", Samples: []data.Sample{replay.TextSample(ids)}}
	s.Valid = s.Train
	if err := s.Plan(); err != nil {
		return err
	}
	st, closeAll, err := j.ready(s)
	if err != nil {
		return err
	}
	defer closeAll()
	if err := st.Build(j.Host); err != nil {
		return err
	}
	scores, err := s.ScoresOf(st, s.Train.Samples[0])
	if err != nil {
		return err
	}
	result, err := json.Marshal(message.Verdict{Prompt: g.Prompt, PromptIDs: ids, Label: scores[0].Label, Scores: scores})
	j.Host.Emit(message.Envelope{Type: "result", Result: result})
	return err
}
