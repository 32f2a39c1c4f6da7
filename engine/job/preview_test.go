package job_test

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/fstest"

	"llamatab/engine/job"
	"llamatab/engine/message"
	"llamatab/engine/report"
)

// previewing is a job that previews rows of a file, with settings in the form of --set.
func previewing(t *testing.T, model, dataset fstest.MapFS, sets ...string) *job.Job {
	t.Helper()
	j := newJob(t, report.Files{Model: model, Dataset: dataset}, append([]string{full}, sets...)...)
	j.Command, j.Open, j.Job.Preview = message.Preview, nil, &message.PreviewJob{Rows: 3, Tokens: 100}
	return j
}

// spelled writes a row as a person sees it: turns begin with their role, [trained] tokens stand in brackets, special ones have a *.
func spelled(row message.PreviewRow) string {
	var b strings.Builder
	turns, inside := row.Turns, false
	for i, token := range row.Tokens {
		if inside && (!token.Trained || len(turns) > 0 && turns[0].From == i) {
			b.WriteString("]")
			inside = false
		}
		if len(turns) > 0 && turns[0].From == i {
			b.WriteString(" " + turns[0].Role + ":")
			turns = turns[1:]
		}
		if token.Trained && !inside {
			b.WriteString("[")
			inside = true
		}
		b.WriteString(token.Text)
		if token.Special {
			b.WriteString("*")
		}
	}
	if inside {
		b.WriteString("]")
	}
	return strings.TrimSpace(b.String())
}

// chatty is the tiny model with a token that ends turns, and two chat templates.
func chatty(t *testing.T) fstest.MapFS {
	m := withTokenizer(tiny(t, true, false, nil))
	m["tokenizer.json"].Data = []byte(strings.Replace(string(m["tokenizer.json"].Data), `"added_tokens": []`,
		`"added_tokens": [{"id": 35, "content": "9", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}]`, 1))
	turns := `{% for m in messages %}{{ m.role[0] ~ m.content ~ '9' }}{% endfor %}{% if add_generation_prompt %}a{% endif %}`
	list, _ := json.Marshal([]map[string]string{{"name": "default", "template": turns}, {"name": "loud", "template": "x" + turns}})
	m["tokenizer_config.json"] = &fstest.MapFile{Data: []byte(`{"eos_token": "9", "chat_template": ` + string(list) + `}`)}
	return m
}

// A preview shows the turns of conversations with the tokens that the loss counts, the end of a turn among them, and names the
// template. Pairs and classifications have their parts, too.
func TestPreviewOfTurns(t *testing.T) {
	const talk = `{"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}, {"from": "human", "value": "x"}, {"from": "gpt", "value": "y"}], "system": "be"}`
	for name, c := range map[string]struct {
		data     string
		sets     []string
		want     string
		template string
	}{
		"conversation":    {talk, nil, "system:sbe9* user:uhi9* assistant:a[ho9*] user:ux9* assistant:a[y9*]", "default of tokenizer_config.json"},
		"named":           {talk, []string{`dataset.template="model:loud"`}, "system:xsbe9* user:uhi9* assistant:a[ho9*] user:ux9* assistant:a[y9*]", "loud of tokenizer_config.json"},
		"all is trained":  {talk, []string{`dataset.train_on_prompt=true`}, "system:s[be9*] user:[uhi9*] assistant:[aho9*] user:[ux9*] assistant:[ay9*]", "default of tokenizer_config.json"},
		"pair":            {`{"prompt": "ab", "completion": "cd"}`, nil, "prompt:ab completion:[cd9*]", ""},
		"by other names":  {`{"foo": "ab", "bar": "cd"}`, []string{`dataset.format="prompt_completion"`, `dataset.columns={"prompt": "foo", "completion": "bar"}`}, "prompt:ab completion:[cd9*]", ""},
		"text":            {`{"text": "ab"}`, nil, "a[b9*]", ""},
		"classification":  {`{"text": "ab", "label": "good"}` + "\n" + `{"text": "c", "label": "bad"}`, []string{`trainable=["score"]`}, "ab → good", ""},
		"a row left out":  {`{"prompt": null, "completion": "cd"}` + "\n" + `{"prompt": "ab", "completion": "cd"}`, []string{`dataset.on_bad_row="skip"`}, "prompt:ab completion:[cd9*]", ""},
		"column by guess": {`{"question": "ab", "reply": "cd"}`, []string{`dataset.format="prompt_completion"`, `dataset.columns={"prompt": "question", "completion": "reply"}`}, "prompt:ab completion:[cd9*]", ""},
	} {
		var p message.DataPreview
		answer(t, previewing(t, chatty(t), lines(c.data), c.sets...), &p)
		got := spelled(p.Rows[0])
		if label := p.Rows[0].Label; label != "" {
			got += " → " + label
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		template := ""
		if p.Template != nil {
			template = p.Template.Name + " of " + p.Template.Source
			if strings.Join(p.Template.Own, " ") != "default loud" || p.Template.StandIn {
				t.Errorf("%s: %+v", name, p.Template)
			}
		}
		if template != c.template {
			t.Errorf("%s: the template %q, want %q", name, template, c.template)
		}
		bad := name == "a row left out"
		if (len(p.Bad) == 1) != bad || bad && p.Bad[0].Line != 1 {
			t.Errorf("%s: bad rows %+v", name, p.Bad)
		}
		if len(p.Columns) == 0 || len(p.Keys) == 0 || p.Rows[0].Line != 1+len(p.Bad) {
			t.Errorf("%s: columns %+v, keys %+v, line %d", name, p.Columns, p.Keys, p.Rows[0].Line)
		}
	}
}

// Of a file that cannot be read a preview tells the columns before it fails, so that a person can choose among them. A name of a
// template that the model does not have is refused.
func TestPreviewOfWhatFails(t *testing.T) {
	for name, c := range map[string]struct {
		data    string
		sets    []string
		columns string
		keys    string
		cause   string
	}{
		"no format":         {`{"foo": "ab", "bar": 1}`, nil, "foo text, bar number", "", "no format fits"},
		"a column missing":  {`{"foo": "ab", "bar": "c"}`, []string{`dataset.format="prompt_completion"`}, "foo text, bar text", "prompt= completion=", "prompt"},
		"a bad row":         {`{"text": "ab"}` + "\n" + `{"text": 3}`, nil, "text text", "text=text", "line 2"},
		"the model's names": {`{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}`, []string{`dataset.template="model:quiet"`}, "messages messages", "messages=messages tools=", "it has default, loud"},
	} {
		j := previewing(t, chatty(t), lines(c.data), c.sets...)
		mustFail(t, j, "data", report.ExitConfig, c.cause)
		var p message.DataPreview
		for _, m := range j.Host.(*host).sent {
			if m.Result != nil {
				if err := json.Unmarshal(m.Result, &p); err != nil {
					t.Fatal(err)
				}
			}
		}
		var columns, keys []string
		for _, x := range p.Columns {
			columns = append(columns, x.Name+" "+x.Kind)
		}
		for _, k := range p.Keys {
			keys = append(keys, k.Key+"="+k.Column)
		}
		if got := strings.Join(columns, ", "); got != c.columns {
			t.Errorf("%s: columns %q, want %q", name, got, c.columns)
		}
		if got := strings.Join(keys, " "); got != c.keys || len(p.Rows) > 0 {
			t.Errorf("%s: keys %q, want %q, rows %v", name, got, c.keys, p.Rows)
		}
	}
}
