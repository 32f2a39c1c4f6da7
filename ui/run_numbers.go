package ui

import (
	"encoding/json"
	"math"
	"strconv"

	"llamatab/engine/message"
)

// measures are the results of an evaluation.
type measures struct{ Loss, Accuracy *message.Float }

// measuresOf reads the event evaluated_on_start.
func measuresOf(e message.Event) *measures {
	read := func(key string) *message.Float {
		var v message.Float
		if raw, err := json.Marshal(e.Data[key]); err != nil || e.Data[key] == nil || json.Unmarshal(raw, &v) != nil {
			return nil
		}
		return &v
	}
	return &measures{Loss: read("eval_loss"), Accuracy: read("eval_accuracy")}
}

// dash stands in for an unknown number.
const dash = "–"

// StepText and the methods below are the numbers of the run.
func (r *Run) StepText() Text {
	if r.Total == 0 {
		return dash
	}
	return r.T("step.of", "step", r.Last.Step, "total", r.Total)
}

func (r *Run) LossText() Text {
	if r.Last.Step == 0 {
		return dash
	}
	return r.lossText(float64(r.Last.Loss))
}

func (r *Run) EvalText() Text {
	if r.Eval == nil {
		return dash
	}
	return r.lossText(float64(*r.Eval))
}

// AccuracyText is the share of the held-out rows that a classifier labels correctly.
func (r *Run) AccuracyText() Text {
	if r.Accuracy == nil {
		return dash
	}
	return percent(float64(*r.Accuracy))
}

func percent(share float64) Text { return Text(strconv.FormatFloat(100*share, 'f', 0, 64) + " %") }

// EvalBefore and AccuracyBefore are the values before training.
func (r *Run) EvalBefore() Text {
	if r.Before == nil || r.Before.Loss == nil {
		return ""
	}
	return r.T("before", "value", r.lossText(float64(*r.Before.Loss)))
}

func (r *Run) AccuracyBefore() Text {
	if r.Before == nil || r.Before.Accuracy == nil {
		return ""
	}
	return r.T("before", "value", percent(float64(*r.Before.Accuracy)))
}

// Classifies reports whether the run trains a classifier.
func (r *Run) Classifies() bool {
	if r.Accuracy != nil || r.Before != nil && r.Before.Accuracy != nil {
		return true
	}
	config, err := parseTree([]byte(r.Config))
	return err == nil && config.classifies()
}

func (r *Run) lossText(loss float64) Text {
	if math.IsNaN(loss) || math.IsInf(loss, 0) {
		return r.T("status.nan")
	}
	return Text(strconv.FormatFloat(loss, 'f', 4, 64))
}

func (r *Run) SpeedText() Text {
	if r.Last.TokensPerSecond <= 0 {
		return dash
	}
	return Text(number(r.Last.TokensPerSecond))
}

func (r *Run) MemoryText() Text {
	if r.Last.GPUBytes == 0 {
		return dash
	}
	return Text(Bytes(r.Last.GPUBytes))
}

func (r *Run) LeftText() Text {
	if r.Last.Step == 0 || !r.Stage.Active() {
		return dash
	}
	return Text(r.Duration(float64(r.Total-r.Last.Step) * r.pace))
}

// shortNumber writes a number with three digits.
func shortNumber(v message.Float) Text { return Text(strconv.FormatFloat(float64(v), 'g', 3, 64)) }
