package job_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"llamatab/engine/job"
	"llamatab/engine/message"
	"llamatab/engine/report"
)

// conversations are rows that the tiny model's letters can spell.
func conversations() fstest.MapFS {
	return lines(strings.Repeat(`{"messages": [{"role": "user", "content": "bc"}, {"role": "assistant", "content": "xyz"}]}`+"\n"+
		`{"messages": [{"role": "user", "content": "d"}, {"role": "assistant", "content": "q7q7"}]}`+"\n", 4))
}

// ofBase is the conversation put to the base model.
func ofBase(a message.Ask) message.Ask {
	a.Base = true
	return a
}

// A chat that compares answers as a chat with the trained model and one with the base model do, each over its own history, and
// computes what is new alone. An adapter that leaves the base model alone does not have it loaded a second time.
func TestChatComparesWithBase(t *testing.T) {
	base := talkative(t)
	for name, c := range map[string]struct {
		set   string
		loads int // how often weights are loaded
	}{
		"lora":                           {lora, 1},
		"a prefix":                       {`peft={"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 3}`, 1},
		"an adapter that moves the base": {`peft={"peft_type": "LORA", "r": 4, "lora_alpha": 8, "init_lora_weights": "pissa"}`, 2},
		"an adapter with a base module":  {`peft={"peft_type": "LORA", "r": 4, "lora_alpha": 8, "modules_to_save": ["embed_tokens"]}`, 2},
		"all weights":                    {full, 2},
	} {
		t.Run(name, func(t *testing.T) {
			trained := must(t, newJob(t, report.Files{Model: base, Dataset: conversations()}, c.set, "training.learning_rate=0.1", steps(8)))
			files, alone := report.Files{Model: base, Adapter: trained.folder("adapter")}, report.Files{Model: base}
			if c.set == full {
				files = report.Files{Model: trained.folder("model"), Base: base}
			}
			after := alone
			after.Model, after.Adapter = files.Model, files.Adapter
			first := asking("bc")
			var want [2][2]message.Reply // by turn: of the base model, of the trained one
			for i, of := range []report.Files{alone, after} {
				r, _ := talk(t, of, 64, nil, first)
				both, _ := talk(t, of, 64, nil, first, asking("bc", r[0].Text, "d"))
				want[0][i], want[1][i] = both[0], both[1]
			}
			if want[0][0].Text == want[0][1].Text {
				t.Fatalf("the run has taught nothing: both say %q", want[0][0].Text)
			}
			h := &askingHost{host: newHost(), asks: []message.Ask{ofBase(first), first,
				ofBase(asking("bc", want[0][0].Text, "d")), asking("bc", want[0][1].Text, "d")}}
			j := &job.Job{Job: message.Job{Command: message.Chat, Chat: &message.ChatJob{Context: 64, Base: true}}, Files: files, Host: h, Open: open(t)}
			if err := job.Run(t.Context(), j); err != nil {
				t.Fatal(err)
			}
			var replies []message.Reply
			loads := 0
			for _, m := range h.sent {
				if m.Reply != nil {
					replies = append(replies, *m.Reply)
				}
				if m.Progress != nil && m.Progress.Phase == "load" && m.Progress.Done == 0 {
					loads++
				}
			}
			for i, w := range []message.Reply{want[0][0], want[0][1], want[1][0], want[1][1]} {
				if replies[i] != w {
					t.Errorf("answer %d is %+v, want %+v", i, replies[i], w)
				}
			}
			if replies[3].CachedTokens == 0 || loads != c.loads {
				t.Errorf("%d tokens were computed before; weights were loaded %d times, want %d", replies[3].CachedTokens, loads, c.loads)
			}
		})
	}
}

// What keeps a chat from comparing is told: nothing to compare with, or no memory for both models.
func TestChatComparesFaults(t *testing.T) {
	files := report.Files{Model: talkative(t)}
	spec := message.Job{Command: message.Chat, Chat: &message.ChatJob{Context: 64, Base: true}}
	err := job.Run(t.Context(), &job.Job{Job: spec, Files: files, Host: &askingHost{host: newHost()}, Open: open(t)})
	if err == nil || !strings.Contains(err.Error(), "nothing to compare") {
		t.Errorf("without an adapter: %v", err)
	}
	replies, _ := talk(t, files, 64, nil, ofBase(asking("bc")), asking("bc"))
	if f := replies[0].Failed; f == nil || f.Code != "job" || replies[1].Text == "" {
		t.Errorf("the base model, which was not loaded, answers %+v; then %+v", replies[0], replies[1])
	}
	files.Base = files.Model
	for budget, fits := range map[int64]bool{40_000: false, 1 << 20: true} {
		err := job.Run(t.Context(), &job.Job{Job: spec, Files: files, Host: &askingHost{host: newHost()}, Open: open(t), Budget: budget})
		one := job.Run(t.Context(), &job.Job{Job: message.Job{Command: message.Chat, Chat: &message.ChatJob{Context: 64}}, Files: files, Host: &askingHost{host: newHost()}, Open: open(t), Budget: budget})
		if (err == nil) != fits || one != nil || err != nil && report.Failure(err).Code != "does_not_fit" {
			t.Errorf("with %d bytes: two models %v, one %v", budget, err, one)
		}
	}
}

// What the model writes that is not UTF-8 is not part of an answer, and the codes of faults tell them apart.
func TestChatWords(t *testing.T) {
	refuses := talkative(t)
	refuses["chat_template.jinja"] = &fstest.MapFile{Data: []byte(`{{ raise_exception('roles must alternate') }}`)}
	replies, _ := talk(t, report.Files{Model: refuses}, 64, nil, asking("b"))
	if f := replies[0].Failed; f == nil || f.Code != "turns_refused" || !strings.Contains(f.Message, "roles must alternate") {
		t.Errorf("a template refuses: %+v", f)
	}
	replies, _ = talk(t, report.Files{Model: talkative(t)}, 24, nil, asking(strings.Repeat("b", 40)))
	if f := replies[0].Failed; f == nil || f.Code != "context_full" {
		t.Errorf("a full context: %+v", f)
	}
	broken := talkative(t) // its letters are the first bytes of characters
	text := string(broken["tokenizer.json"].Data)
	for i, c := range "efghijklmnopqrstvwxyz" {
		text = strings.Replace(text, `"`+string(c)+`":`, `"`+string('Ã'+rune(i))+`":`, 1)
	}
	broken["tokenizer.json"] = &fstest.MapFile{Data: []byte(text)}
	long := asking("bc")
	long.Sampling.MaxNewTokens = 20
	replies, said := talk(t, report.Files{Model: broken}, 64, nil, long)
	if r := replies[0]; r.Failed != nil || r.Tokens != 20 || strings.Contains(r.Text+said, "\uFFFD") || len(r.Text) >= 20 {
		t.Errorf("answers %+v, streams %q", r, said)
	}
}

// A Template job tells the model's template, or the one that stands in, and whether the rows are conversations.
func TestChatTemplate(t *testing.T) {
	plain := withTokenizer(tiny(t, true, false, nil))
	for name, c := range map[string]struct {
		files report.Files
		want  message.ChatTemplate
	}{
		"own":                          {report.Files{Model: talkative(t)}, message.ChatTemplate{Name: "default", Own: true}},
		"none":                         {report.Files{Model: plain}, message.ChatTemplate{Name: "plain"}},
		"trained on conversations":     {report.Files{Model: talkative(t), Dataset: conversations()}, message.ChatTemplate{Name: "default", Own: true, Trained: true}},
		"not trained on conversations": {report.Files{Model: talkative(t), Dataset: lines(`{"text": "abc"}` + "\n")}, message.ChatTemplate{Name: "default", Own: true}},
	} {
		j := newJob(t, c.files, lora)
		j.Command, j.Job.Chat = message.Template, &message.ChatJob{}
		var got message.ChatTemplate
		if answer(t, j, &got); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
	bad := talkative(t)
	bad["chat_template.jinja"] = &fstest.MapFile{Data: []byte(`{% for %}`)}
	mustFail(t, &job.Job{Job: message.Job{Command: message.Template}, Files: report.Files{Model: bad}, Host: newHost(), Open: open(t)}, "template", report.ExitConfig, "chat_template.jinja")
}
