package job_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"llamatab/engine/forecast"
	"llamatab/engine/job"
	"llamatab/engine/message"
	"llamatab/engine/report"
)

// answer is the result of a job that succeeds.
func answer(t *testing.T, j *job.Job, into any) {
	t.Helper()
	for _, m := range must(t, j).sent {
		if m.Result != nil {
			if err := json.Unmarshal(m.Result, into); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatal("no result")
}

// The plan for a page is the plan of the run, and a mistake is reported with the setting's path.
func TestPlanJob(t *testing.T) {
	j := newJob(t, report.Files{Model: tiny(t, true, false, nil), Dataset: rows(8, 3)}, lora)
	planned := *j
	planned.Command, planned.Host, planned.Open = message.Plan, newHost(), nil
	var f forecast.Forecast
	answer(t, &planned, &f)
	s := must(t, j).summary(t)
	if f.Trainable != s.Trainable || f.Total != s.Total || f.Steps != 5 || f.Dataset.Rows != 2 {
		t.Errorf("planned %+v, ran %+v", f, s)
	}
	for class, bytes := range s.Planned {
		if f.Bytes[class] != bytes {
			t.Errorf("%s: planned %d bytes, ran with %d", class, f.Bytes[class], bytes)
		}
	}
	small := planned
	small.Host, small.Job.Plan = newHost(), &message.PlanJob{MaxBuffer: 256, MaxBinding: 256}
	if answer(t, &small, &f); f.Fits || !strings.Contains(f.Misfit.Message, "256 B") || f.Misfit.Data["limit_bytes"] != 256.0 {
		t.Errorf("fits buffers of 256 bytes: %+v", f.Misfit)
	}
	// What does not fit is told at once, and once more with what would.
	tight := planned
	tight.Host, tight.Budget = newHost(), s.Planned["total"]-1
	var told []forecast.Forecast
	for _, m := range must(t, &tight).sent {
		if m.Result != nil {
			told = append(told, forecast.Forecast{})
			if err := json.Unmarshal(m.Result, &told[len(told)-1]); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(told) != 2 || told[0].Fits || told[0].Choices != nil || len(told[1].Choices) == 0 || told[1].Misfit.Message != told[0].Misfit.Message {
		t.Errorf("told %+v", told)
	}
	wrong := planned
	wrong.Host, wrong.Config = newHost(), json.RawMessage(`{"model": "m", "dataset": {"path": "d"}, "training": {"learning_rate": -1}}`)
	if said := mustFail(t, &wrong, "config", 2, "learning_rate"); said.Path != "training.learning_rate" {
		t.Errorf("the path at fault is %q", said.Path)
	}
}

// A page can plan for a model that it has not fetched: one method or all, on one device or over tabs.
func TestPlanKnownModel(t *testing.T) {
	config := json.RawMessage(`{"model": "any", "dataset": {"path": "any", "max_length": 64}, "trainable": ["all"]}`)
	ask := func(p message.PlanJob) *job.Job {
		return &job.Job{Job: message.Job{Command: message.Plan, Config: config, Plan: &p}, Host: newHost()}
	}
	var f forecast.Forecast
	answer(t, ask(message.PlanJob{Model: "smollm2-135m", Tabs: 2, LinkRate: 1e6, FLOPS: 1e12}), &f)
	if f.Total != 134515008 || len(f.Sharding) != 3 || f.Sharding[0].Wire <= f.Seconds || f.Seconds <= 0 {
		t.Errorf("%+v", f)
	}
	var methods []forecast.Method
	answer(t, ask(message.PlanJob{Model: "SmolLM2-135M", Compare: true}), &methods)
	if len(methods) != len(forecast.Ways()) || methods[0].Forecast == nil || methods[0].Forecast.Bytes["total"] != f.Bytes["total"] {
		t.Errorf("%+v", methods)
	}
	for _, m := range methods {
		if (m.Forecast == nil) == (m.Refused == "") || m.Trains == "" || len(m.Settings) == 0 {
			t.Errorf("%+v", m)
		}
	}
	mustFail(t, ask(message.PlanJob{Model: "SmolLM3"}), "config", 2, "SmolLM3")
}

func TestPreviewJob(t *testing.T) {
	j := newJob(t, report.Files{Model: tiny(t, true, false, nil), Dataset: lines(`{"input_ids": [1, 2, 3], "labels": [-100, -100, 3]}
{"input_ids": [4, 5, 6, 7]}
{"input_ids": [4, 5, 6, 7]}`)}, full)
	j.Command, j.Open, j.Job.Preview = message.Preview, nil, &message.PreviewJob{Rows: 2, Tokens: 3}
	var p message.DataPreview
	answer(t, j, &p)
	got, _ := json.Marshal(p)
	want := `{"format":"tokens","file":{"layout":"json lines","encoding":"UTF-8"},"rows":[{"tokens":[{"id":1,"text":""},{"id":2,"text":""},{"id":3,"text":"","trained":true}],"length":3,"line":1},` +
		`{"tokens":[{"id":4,"text":""},{"id":5,"text":"","trained":true},{"id":6,"text":"","trained":true}],"length":4,"line":2}],` +
		`"total_rows":3,"tokens":11,"trained_tokens":7,"counts":{"rows":3,"tokens":11,"trained_tokens":7,"truncated_rows":0,"lost_tokens":0,"dropped_rows":0,"empty_rows":0,"masked_rows":0,"cut_off_rows":0,"bad_rows":0,"duplicate_rows":1},"remarks":[{"code":"rows_repeated","message":"data.jsonl: 1 of 3 rows repeat an earlier one","data":{"file":"data.jsonl","n":1,"rows":3}}],` +
		`"columns":[{"name":"input_ids","kind":"list","example":"[1, 2, 3]"},{"name":"labels","kind":"list","example":"[-100, -100, 3]"}],` +
		`"keys":[{"key":"input_ids","column":"input_ids"},{"key":"label","optional":true}]}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// A single step leaves the run paused, and a checkpoint that the person asked for is like any other.
func TestSingleAndSave(t *testing.T) {
	j := newJob(t, report.Files{Model: tiny(t, true, false, nil), Dataset: rows(8, 8, 8, 8)}, lora)
	h := j.Host.(*host)
	var at []int // steps done at each call while paused
	asked := 0
	h.control = func() message.Control {
		done := len(h.steps())
		at = append(at, done)
		asked++
		switch asked {
		case 1:
			return message.Pause
		case 3, 5:
			return message.Single
		case 7:
			return message.Save
		case 8:
			return message.Resume
		}
		return ""
	}
	must(t, j)
	if want := []int{0, 0, 0, 1, 1, 2, 2, 2}; !slices.Equal(at[:8], want) {
		t.Errorf("steps done when asked: %v, want %v", at[:8], want)
	}
	if _, ok := h.files["checkpoint-3/optimizer.safetensors"]; !ok {
		t.Errorf("no checkpoint after step 3 but %v", slices.Sorted(maps.Keys(h.files)))
	}
	through := must(t, newJob(t, j.Files, lora))
	sameFiles(t, h, through, "adapter/")
	files := j.Files
	files.Resume = h.folder("checkpoint-3")
	sameFiles(t, must(t, newJob(t, files, lora)), through, "adapter/")
}
