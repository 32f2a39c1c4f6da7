package job

import (
	"context"
	"encoding/json"
	"fmt"

	"llamatab/engine/config"
	"llamatab/engine/device"
	"llamatab/engine/message"
	"llamatab/engine/pretrained"
	"llamatab/engine/replay"
	"llamatab/engine/report"
)

// evalRows is the number of rows of a micro-batch in an evaluation.
const evalRows = 4

// scored is the score of one model of a comparison on a dataset.
type scored struct {
	Name       string         `json:"name,omitempty"`
	Type       string         `json:"peft_type,omitempty"`
	Loss       message.Float  `json:"loss"`
	Perplexity *message.Float `json:"perplexity"`
	Tokens     int            `json:"tokens"`
	Accuracy   *message.Float `json:"accuracy,omitempty"` // of a classification
	F1         *message.Float `json:"f1,omitempty"`
}

// eval measures the model on a dataset, or each model of a comparison.
func (j *Job) eval(ctx context.Context) error {
	e := j.Job.Eval
	if e == nil {
		return report.Fail("job", report.ExitConfig, "", fmt.Errorf("nothing to evaluate was named"))
	}
	if j.compares() && (e.DumpLogits != "" || e.DumpGradients != "") {
		return report.Fail("config", report.ExitConfig, "Give one --adapter.", fmt.Errorf("dumps are of one adapter, and %d are compared", len(j.Compare)))
	}
	s, err := j.openModel()
	if err != nil {
		return err
	}
	defer s.Model.Close()
	s.BatchRows = evalRows
	if e.BatchSize > 0 {
		s.BatchRows = e.BatchSize
	}
	if e.DumpGradients == "" {
		s.Model.Freeze()
	} else if err := trainOnly(s.Model, e.Trainable); err != nil {
		return err
	}
	s.Gradients = e.DumpGradients != ""
	if err := s.Model.CheckWeights(); err != nil {
		return err
	}
	o := replay.DataOptions{Format: e.Format}
	if e.MaxLength > 0 {
		o.MaxLength = &e.MaxLength
	}
	if s.Train, err = s.LoadData(o); err != nil {
		return err
	}
	if s.Train.Classes != nil {
		s.Model.Classes = s.Train.Classes
	}
	if !j.compares() { // a comparison chooses no kernel variants, so that all its models use the same ones
		s.Repeats = device.CeilDiv(s.Train.Len(), s.BatchRows) * s.Model.Decoder.Layers
	}
	s.Valid = s.Train // so the plan covers the loss without gradients too
	var scores []scored
	if err := j.withModels(ctx, s, func(a *pretrained.Adapter, st *replay.Stepper) error {
		if err := st.Build(j.Host); err != nil {
			return err
		}
		m, err := s.Measure(s.Train, st, j.Host)
		if err != nil {
			return err
		}
		r := scored{Loss: message.Float(m.Loss), Perplexity: replay.Perplexity(m.Loss), Tokens: m.Tokens, Accuracy: m.Accuracy, F1: m.F1}
		if a != nil {
			r.Name, r.Type = a.Name, a.Config.Type
		}
		scores = append(scores, r)
		return j.dump(ctx, s, st, m.Tokens)
	}); err != nil {
		return err
	}
	answer := map[string]any{"rows": s.Train.Len()}
	if j.compares() {
		answer["base"], answer["adapters"] = scores[0], scores[1:]
	} else {
		one := scores[0]
		answer["loss"], answer["perplexity"], answer["tokens"] = one.Loss, one.Perplexity, one.Tokens
		if one.Accuracy != nil {
			answer["accuracy"], answer["f1"] = one.Accuracy, one.F1
		}
	}
	result, err := json.Marshal(answer)
	j.Host.Emit(message.Envelope{Type: "result", Result: result})
	return err
}

// trainOnly makes the named parts of the base model those that gradients are dumped for.
func trainOnly(m *pretrained.Model, trainable []string) error {
	parts, err := config.ParseParts(trainable, "--trainable")
	if err != nil {
		return report.Fail("config", report.ExitConfig, "See llamatab eval --help.", err)
	}
	pretrained.Untie(m.Decoder, parts)
	chosen, err := pretrained.Choose(m.Decoder, parts, "--trainable")
	if err != nil {
		return err
	}
	for p := range chosen {
		p.Trainable = true
	}
	return nil
}

// dump writes the logits and the gradients of the mean loss, where the job asks for them.
func (j *Job) dump(ctx context.Context, s *replay.Setup, st *replay.Stepper, tokens int) error {
	e, out := j.Job.Eval, pretrained.Writer{Host: j.Host, Values: st.Mem}
	if e.DumpLogits != "" {
		if err := dumpLogits(ctx, s, st, out, e.DumpLogits); err != nil {
			return err
		}
	}
	if e.DumpGradients != "" {
		return dumpGradients(s, st, out, e.DumpGradients, tokens)
	}
	return nil
}
