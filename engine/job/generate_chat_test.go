//go:build !js

package job_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"llamatab/engine/job"
	"llamatab/engine/message"
	"llamatab/engine/report"
)

// A conversation is continued as the text is that the chat template makes of it, up to the token that ends a turn.
func TestGenerateMessages(t *testing.T) {
	files := report.Files{Model: withTokenizer(tiny(t, true, false, nil))}
	files.Model.(fstest.MapFS)["chat_template.jinja"] = &fstest.MapFile{
		Data: []byte(`{% for m in messages %}{{ m.role[0] }}1{{ m.content }}9{% endfor %}{% if add_generation_prompt %}a1{% endif %}`)}
	type result struct {
		Prompt []int  `json:"prompt_ids"`
		Output []int  `json:"output_ids"`
		Text   string `json:"text"`
	}
	run := func(g message.GenerateJob) (*job.Job, result) {
		g.TopP, g.MaxNewTokens = 1, 6
		j := &job.Job{Job: message.Job{Command: message.Generate, Generate: &g}, Files: files, Host: newHost(), Open: open(t)}
		var v result
		answer(t, j, &v)
		return j, v
	}
	_, talk := run(message.GenerateJob{Messages: json.RawMessage(`[{"role": "system", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "hi"}]}]`)})
	_, plain := run(message.GenerateJob{Prompt: "s1s9u1hi9a1"})
	if !slices.Equal(talk.Output, plain.Output) || !slices.Equal(talk.Prompt, plain.Prompt) || plain.Text != "s1s9u1hi9a1"+talk.Text || talk.Text == "" {
		t.Errorf("the conversation gives %+v, its text %+v", talk, plain)
	}
	for messages, want := range map[string]string{
		`[]`: "no messages", `{}`: "a list of messages", `[{"role": "user"}]`: `message 1: the key "content" is missing`, `[{"role": "robot", "content": "x"}]`: `"robot" is unknown`,
	} {
		j := &job.Job{Job: message.Job{Command: message.Generate, Generate: &message.GenerateJob{Messages: json.RawMessage(messages), TopP: 1}}, Files: files, Host: newHost(), Open: open(t)}
		if err := job.Run(t.Context(), j); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", messages, err, want)
		}
	}
}
