package job_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"llamatab/engine/job"
	"llamatab/engine/message"
	"llamatab/engine/report"
)

// withTokenizer adds a tokenizer of single characters to the tiny model.
func withTokenizer(m fstest.MapFS) fstest.MapFS {
	var vocab []string
	for i, c := range "abcdefghijklmnopqrstuvwxyz0123456789Ġ" {
		vocab = append(vocab, fmt.Sprintf("%q: %d", string(c), i))
	}
	m["tokenizer.json"] = &fstest.MapFile{Data: []byte(`{"version": "1.0", "added_tokens": [], "normalizer": null, "post_processor": null,
		"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
		"decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
		"model": {"type": "BPE", "vocab": {` + strings.Join(vocab, ", ") + `}, "merges": []}}`)}
	return m
}

// A sample is the text that generate writes with the weights of that step, and the run has the bits of one without samples.
func TestSamples(t *testing.T) {
	for _, method := range []string{lora, full, `peft={"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 3}`} {
		files := report.Files{Model: withTokenizer(tiny(t, true, false, nil)), Dataset: rows(8, 8, 8, 8)}
		j := newJob(t, files, method, steps(5))
		j.Job.Samples = &message.SampleJob{Prompts: []string{"ab c", "9"}, Every: 2, MaxNewTokens: 6}
		h := must(t, j)
		plain := must(t, newJob(t, files, method, steps(5)))
		dir := "adapter"
		if method == full {
			dir = "model"
		}
		sameFiles(t, h, plain, dir+"/")
		if a, b := h.summary(t), plain.summary(t); fmt.Sprint(a) != fmt.Sprint(b) {
			t.Errorf("%s: the run took %v, without samples %v", method, a, b)
		}
		var got []message.Sample
		for _, m := range h.sent {
			if m.Sample != nil {
				got = append(got, *m.Sample)
			}
		}
		var at []int
		for _, s := range got {
			at = append(at, s.Step)
		}
		if want := "[0 0 2 2 4 4 5 5]"; fmt.Sprint(at) != want {
			t.Fatalf("%s: samples after steps %v, want %v", method, at, want)
		}
		for i, prompt := range j.Job.Samples.Prompts {
			last := got[len(got)-2+i]
			g := &job.Job{Job: message.Job{Command: message.Generate, Generate: &message.GenerateJob{Prompt: prompt, MaxNewTokens: 6, TopP: 1}},
				Files: files, Host: newHost(), Open: open(t)}
			g.Files.Dataset = nil
			if dir == "adapter" {
				g.Files.Adapter = h.folder(dir)
			} else {
				g.Files.Model = h.folder(dir)
			}
			var said struct{ Text string }
			if answer(t, g, &said); said.Text != prompt+last.Text || len(last.Text) == 0 {
				t.Errorf("%s: %q continues as %q, generated %q", method, prompt, last.Text, said.Text)
			}
		}
	}
}

// Samples and evaluation before training use the initial weights and change nothing. In a run with warm-up they come after the
// first loss, because the first update has the learning rate 0.
func TestStart(t *testing.T) {
	files := report.Files{Model: withTokenizer(tiny(t, true, false, nil)), Dataset: rows(8, 8, 8, 8, 8, 8, 8, 8)}
	run := func(settings ...string) (h *host, order string, said []string, loss any) {
		j := newJob(t, files, append([]string{lora, steps(3), "dataset.validation_split=0.25", "training.learning_rate=0.1"}, settings...)...)
		j.Job.Samples = &message.SampleJob{Prompts: []string{"ab c"}, Every: 100, MaxNewTokens: 6}
		h = must(t, j)
		for _, m := range h.sent {
			switch {
			case m.Sample != nil && m.Sample.Step == 0:
				order, said = order+"s", append(said, m.Sample.Text)
			case m.Event != nil && m.Event.Code == "evaluated_on_start":
				order, loss = order+"e", m.Event.Data["eval_loss"]
			case m.Step != nil:
				order += "1"
			}
		}
		return h, order, said, loss
	}
	_, order, said, loss := run("training.eval_on_start=true")
	warm, warmOrder, warmSaid, warmLoss := run("training.eval_on_start=true", "training.warmup_steps=2", `training.lr_scheduler_type="linear"`)
	plain, _, _, none := run("training.warmup_steps=2", `training.lr_scheduler_type="linear"`)
	if order != "se111" || warmOrder != "1se11" {
		t.Errorf("samples, evaluation and steps came as %s, with a warm-up as %s", order, warmOrder)
	}
	if fmt.Sprint(said, loss) != fmt.Sprint(warmSaid, warmLoss) || loss == nil || none != nil {
		t.Errorf("before training: %v %v, with a warm-up %v %v, unasked %v", said, loss, warmSaid, warmLoss, none)
	}
	sameFiles(t, warm, plain, "adapter/")
	if got := warm.summary(t).Start; any(got) != loss {
		t.Errorf("summary.json says %v, the event %v", got, loss)
	}
}

// The samples of a run on conversations are the answers that a chat with its result gives, to the prompts of the job, or without
// any to what the users of the first conversations say. They end where a turn ends.
func TestSamplesOfConversations(t *testing.T) {
	files := report.Files{Model: talkative(t), Dataset: conversations()}
	for _, prompts := range [][]string{{"bc", "h"}, nil} {
		j := newJob(t, files, full, steps(4), "training.learning_rate=0.05")
		j.Job.Samples = &message.SampleJob{Prompts: prompts, Every: 2, MaxNewTokens: 6}
		h := must(t, j)
		var got []message.Sample
		for _, m := range h.sent {
			if m.Sample != nil && m.Sample.Step == 4 {
				got = append(got, *m.Sample)
			}
		}
		second := map[bool]string{true: "d", false: "h"}[prompts == nil]
		replies, _ := talk(t, report.Files{Model: h.folder("model")}, 64, nil, asking("bc"), asking(second))
		for i, prompt := range []string{"bc", second} {
			if want := (message.Sample{Step: 4, Prompt: prompt, Text: replies[i].Text, Chat: true}); i >= len(got) || got[i] != want || want.Text == "" {
				t.Errorf("samples %+v, number %d is %+v in a chat", got, i, want)
			}
		}
	}
}
