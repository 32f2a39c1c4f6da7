//go:build !js

package job_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"llamatab/engine/job"
	"llamatab/engine/message"
	"llamatab/engine/pretrained"
	"llamatab/engine/report"
)

// besides are the files of a model folder that a result carries unchanged.
var besides = map[string]string{
	"tokenizer_config.json":                    `{"bos_token": "<s>", "eos_token": "</s>", "chat_template": "of the tokenizer"}`,
	"chat_template.jinja":                      "{% for m in messages %}{{ m.role }}: {{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}",
	"chat_template.json":                       `{"chat_template": "of a processor"}`,
	"additional_chat_templates/tool_use.jinja": "{{ tools }}",
	"additional_chat_templates/rag.jinja":      "{{ documents }}",
	"special_tokens_map.json":                  `{"bos_token": "<s>", "eos_token": "</s>"}`,
	"generation_config.json":                   `{"max_new_tokens": 7}`,
	"added_tokens.json":                        `{}`,
}

// chatModel is the tiny model of conversations of testdata/golden with the given files in place of its tokenizer_config.json.
func chatModel(t *testing.T, files map[string]string) fstest.MapFS {
	t.Helper()
	m := fstest.MapFS{}
	golden := os.DirFS("../../testdata/golden")
	for _, name := range []string{"config.json", "model.safetensors", "tokenizer.json"} {
		m[name] = one(t, golden, "tiny/chat/"+name).(fstest.MapFS)[name]
	}
	for name, text := range files {
		m[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return m
}

const greeting = `{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]}`

// trainTurns takes one step on a conversation.
func trainTurns(t *testing.T, files report.Files, sets ...string) *host {
	t.Helper()
	files.Dataset = lines(greeting + "\n")
	j := newJob(t, files, append([]string{steps(1), "training.learning_rate=0.1", "training.per_device_train_batch_size=1"}, sets...)...)
	j.Open = exact
	var c map[string]any
	if err := json.Unmarshal(j.Config, &c); err != nil {
		t.Fatal(err)
	}
	c["dataset"].(map[string]any)["format"] = "messages"
	j.Config, _ = json.Marshal(c)
	return must(t, j)
}

// export exports an adapter of a model.
func export(t *testing.T, model, adapter fstest.MapFS, format string) fstest.MapFS {
	t.Helper()
	return must(t, &job.Job{Job: message.Job{Command: message.Export, Export: &message.ExportJob{Format: format}},
		Files: report.Files{Model: model, Adapter: adapter}, Host: newHost(), Open: exact}).folder("")
}

// carries compares the files of a result with those of the model.
func carries(t *testing.T, what string, result fstest.MapFS, want map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if f := result[name]; f == nil || string(f.Data) != want[name] {
			t.Errorf("%s: %s is missing or changed", what, name)
		}
	}
}

// A result has all files of the model that another program, or a chat, needs besides the weights.
func TestResultKeepsFiles(t *testing.T) {
	model := chatModel(t, besides)
	want := maps.Clone(besides)
	want["tokenizer.json"] = string(model["tokenizer.json"].Data)
	carries(t, "a trained model", trainTurns(t, report.Files{Model: model}, full).folder("model"), want)
	adapter := trainTurns(t, report.Files{Model: model}, lora).folder("adapter")
	for name := range adapter {
		if strings.Contains(name, "jinja") {
			t.Errorf("the adapter has %s, and the model has its own templates", name)
		}
	}
	carries(t, "a merged model", export(t, model, adapter, "merged"), want)
	elsewhere := fstest.MapFS{"config.json": model["config.json"], "model.safetensors": model["model.safetensors"]}
	delete(want, "generation_config.json") // it is the model's
	carries(t, "a model whose tokenizer lies elsewhere", trainTurns(t, report.Files{Model: elsewhere, Tokenizer: model}, full).folder("model"), want)
}

// promptOf is the text that the model makes of a question.
func promptOf(t *testing.T, files report.Files) string {
	t.Helper()
	var v struct {
		Prompt []int `json:"prompt_ids"`
	}
	answer(t, &job.Job{Job: message.Job{Command: message.Generate, Generate: &message.GenerateJob{
		Messages: json.RawMessage(`[{"role": "user", "content": "hi"}]`), MaxNewTokens: 1, TopP: 1}}, Files: files, Host: newHost(), Open: exact}, &v)
	var words struct {
		Model struct{ Vocab map[string]int }
		Added []struct {
			ID      int
			Content string
		} `json:"added_tokens"`
	}
	f := files.Model.(fstest.MapFS)["tokenizer.json"]
	if err := json.Unmarshal(f.Data, &words); err != nil {
		t.Fatal(err)
	}
	names := map[int]string{}
	for word, id := range words.Model.Vocab {
		names[id] = strings.NewReplacer("Ġ", " ", "Ċ", "\n").Replace(word)
	}
	for _, a := range words.Added {
		names[a.ID] = a.Content
	}
	text := ""
	for _, id := range v.Prompt {
		text += names[id]
	}
	return text
}

// A model that was trained with a template that it would not use by itself is asked with that template afterwards.
func TestResultKeepsTrainedTemplate(t *testing.T) {
	const llama3 = "<s><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
	const zephyr = "<|user|>\nhi</s>\n<|assistant|>\n"
	bare := chatModel(t, map[string]string{"tokenizer_config.json": `{"bos_token": "<s>", "eos_token": "</s>"}`})
	own := chatModel(t, besides)
	for _, c := range []struct {
		what     string
		model    fstest.MapFS
		template string
		want     string
	}{
		{"a model without a template", bare, "llama3", llama3},
		{"a template that stands in", bare, "model", "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"},
		{"a model with another template", own, "zephyr", zephyr},
		{"a model's second template", own, "model:rag", "None"},
		{"a model's own template", own, "model", "user: hi</s>assistant: "},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			set := "dataset.template=" + c.template
			if c.template == "model:rag" { // which writes nothing of the conversation
				c.model = maps.Clone(c.model)
				c.model["additional_chat_templates/rag.jinja"] = &fstest.MapFile{Data: []byte("{{ documents }}{% for m in messages if m.role == 'assistant' %}{{ m.content }}</s>{% endfor %}")}
			}
			if got := promptOf(t, report.Files{Model: trainTurns(t, report.Files{Model: c.model}, full, set).folder("model")}); got != c.want {
				t.Errorf("the trained model is asked %q, want %q", got, c.want)
			}
			adapter := trainTurns(t, report.Files{Model: c.model}, lora, set).folder("adapter")
			again := trainTurns(t, report.Files{Model: c.model, Adapter: adapter}, lora, "dataset.template=model").folder("adapter")
			for what, files := range map[string]report.Files{
				"with the adapter": {Model: c.model, Adapter: adapter}, "after more training": {Model: c.model, Adapter: again},
				"with the exported adapter": {Model: c.model, Adapter: export(t, c.model, adapter, "peft")}, "merged": {Model: export(t, c.model, adapter, "merged")},
			} {
				if got := promptOf(t, files); got != c.want {
					t.Errorf("the model is asked %q %s, want %q", got, what, c.want)
				}
				if c.template == "model:rag" { // the setting of the run finds it as well
					m, err := pretrained.Open(files, nil, 0)
					if err != nil {
						t.Fatal(err)
					}
					if _, err := m.Chat(c.template, false); err != nil {
						t.Errorf("the run's setting %s: %v", what, err)
					}
					m.Close()
				}
			}
			if had := adapter["chat_template.jinja"] != nil; had != (c.template != "model" || c.model["chat_template.jinja"] == nil) {
				t.Errorf("the adapter has a template: %v", had)
			}
			if !bytes.Contains(adapter["adapter_config.json"].Data, []byte("LORA")) {
				t.Error("the adapter is none")
			}
		})
	}
	// An adapter of another program has the template in the tokenizer's settings.
	adapter := trainTurns(t, report.Files{Model: bare}, lora).folder("adapter")
	delete(adapter, "chat_template.jinja")
	adapter["tokenizer_config.json"] = &fstest.MapFile{Data: []byte(`{"eos_token": "</s>", "chat_template": "<{{ messages[0].content }}>"}`)}
	if got := promptOf(t, report.Files{Model: bare, Adapter: adapter}); got != "<hi>" {
		t.Errorf("the model is asked %q", got)
	}
	if got := promptOf(t, report.Files{Model: export(t, bare, adapter, "merged")}); got != "<hi>" {
		t.Errorf("the merged model is asked %q", got)
	}
}
