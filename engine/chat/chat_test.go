package chat

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"llamatab/engine/jinja"
)

func talk(pairs ...string) *Conversation {
	c := &Conversation{}
	for i := 0; i+1 < len(pairs); i += 2 {
		c.Messages = append(c.Messages, NewMessage(pairs[i], pairs[i+1]))
	}
	return c
}

func folder(files ...string) fstest.MapFS {
	f := fstest.MapFS{}
	for i := 0; i+1 < len(files); i += 2 {
		f[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	return f
}

// TestOpen finds templates in each place where transformers looks, in its order.
func TestOpen(t *testing.T) {
	list := `{"bos_token": {"content": "<s>"}, "add_bos_token": true, "chat_template": [{"name": "default", "template": "d{{ bos_token }}"}, {"name": "tool_use", "template": "t"}, {"name": "rag", "template": "r"}]}`
	for name, c := range map[string]struct {
		files      fstest.MapFS
		named      string
		tools      bool
		want, from string
	}{
		"text":                {folder(configFile, `{"eos_token": "</s>", "chat_template": "x{{ eos_token }}"}`), "", false, "x</s>", configFile},
		"list":                {folder(configFile, list), "", false, "d<s>", configFile},
		"list with tools":     {folder(configFile, list), "", true, "t", configFile},
		"list by name":        {folder(configFile, list), "rag", true, "r", configFile},
		"a file counts more":  {folder(configFile, list, TemplateFile, "f{{ bos_token }}"), "", true, "f<s>", TemplateFile},
		"additional":          {folder(TemplateFile, "f", TemplatesDir+"/tool_use.jinja", "a"), "", true, "a", TemplatesDir + "/tool_use.jinja"},
		"of a processor":      {folder(processorFile, `{"chat_template": "p"}`), "", false, "p", processorFile},
		"tokenizer before it": {folder(processorFile, `{"chat_template": "p"}`, configFile, `{"chat_template": "x"}`), "", false, "x", configFile},
		"special tokens map":  {folder(specialFile, `{"pad_token": "<p>", "additional_special_tokens": ["a"]}`, configFile, `{"chat_template": "{{ pad_token }}"}`), "", false, "<p>", configFile},
		"the tokenizer's own": {folder(configFile, `{"chat_template": "{{ bos_token }}{{ eos_token }}"}`), "", false, "<b><e>", configFile},
	} {
		all, err := Open(c.files, Tokens{"<b>", "<e>"})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		tpl, err := all.Choose(c.named, c.tools)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := tpl.Text(talk(), Options{}); err != nil || got != c.want || tpl.Source != c.from {
			t.Errorf("%s: %q of %s, %v, want %q of %s", name, got, tpl.Source, err, c.want, c.from)
		}
	}
	if _, err := Open(folder(configFile, `{}`), Tokens{}); !errors.Is(err, ErrNone) {
		t.Errorf("a folder without a template: %v", err)
	}
	if _, err := Open(folder(configFile, `{"chat_template": 3}`), Tokens{}); err == nil || errors.Is(err, ErrNone) {
		t.Errorf("a number as template: %v", err)
	}
	all, err := Open(folder(configFile, `{"chat_template": "\n{% iff %}"}`), Tokens{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := all.Choose("", false); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("a broken template: %v", err)
	}
	if _, err := all.Choose("rag", false); err == nil || !strings.Contains(err.Error(), "it has default") {
		t.Errorf("a name that is not there: %v", err)
	}
}

// model makes the template of a model whose folder holds only it.
func model(t testing.TB, text string) *Template {
	t.Helper()
	tpl, err := parse("default", TemplateFile, text, map[string]any{"bos_token": "<s>", "eos_token": "</s>"})
	if err != nil {
		t.Fatal(err)
	}
	return tpl
}

const (
	turns = `{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>
{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}`
	// rewrites leaves out the thinking of all turns but those behind the last question, and white space around a text.
	rewrites = `{% set ns = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}` +
		`{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' and loop.index0 > ns.last %}` +
		`{{ m.content if '</think>' in m.content else '<think></think>' ~ m.content }}{% else %}{{ m.content.split('</think>')[-1] | trim }}{% endif %}</s>{{ '\n' }}{% endfor %}` +
		`{% if add_generation_prompt %}<assistant>{% endif %}`
	// prompts opens the thinking for the model, and leaves it out of every turn that was written.
	prompts = `{% for m in messages %}<{{ m.role }}>{{ m.content.split('</think>')[-1] }}</s>{% endfor %}{% if add_generation_prompt %}<assistant><think>{{ '\n' }}{% endif %}`
)

const plainTurns = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"

// TestTrained marks what the assistant wrote, in brackets.
func TestTrained(t *testing.T) {
	for name, c := range map[string]struct {
		template  string
		talk      *Conversation
		want      string
		rewritten int
		lost      int
		open      int
	}{
		"prefixes":          {turns, talk(User, "a", Assistant, "b", User, "b", Assistant, "é"), "<s><user>a</s>\n<assistant>[b</s>]\n<user>b</s>\n<assistant>[é</s>]\n", 0, 0, 0},
		"no answer":         {turns, talk(User, "a"), "<s><user>a</s>\n", 0, 0, 0},
		"two in a row":      {turns, talk(User, "a", Assistant, "b", Assistant, "c"), "<s><user>a</s>\n<assistant>[b</s>]\n<assistant>[c</s>]\n", 0, 0, 0},
		"thinking left out": {rewrites, talk(User, "a", Assistant, "<think>t</think>b", User, "c", Assistant, "d"), "<user>a</s>\n<assistant>[b</s>]\n<user>c</s>\n<assistant>[<think></think>d</s>]\n", 1, 0, 0},
		"the same text":     {rewrites, talk(User, "b", Assistant, "<think>b</think> b ", User, "b", Assistant, "b"), "<user>b</s>\n<assistant>[b</s>]\n<user>b</s>\n<assistant>[<think></think>b</s>]\n", 1, 0, 0},
		"spaces trimmed":    {rewrites, talk(User, " a ", Assistant, " b ", User, "c", Assistant, " d "), "<user>a</s>\n<assistant>[b</s>]\n<user>c</s>\n<assistant>[<think></think> d </s>]\n", 1, 0, 0},
		"thinking opened":   {prompts, talk(User, "a", Assistant, "<think>t</think>b", User, "c", Assistant, "d"), "<user>a</s><assistant>[b</s>]<user>c</s><assistant>[d</s>]", 2, 0, 0},
		"no end of turn":    {"{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", talk(User, "a", Assistant, "b"), "user: a\n[assistant: b\n]", 0, 0, 1},
		"left out":          {"{% for m in messages %}{% if loop.last or m.role == 'user' %}({{ m.content }}){% endif %}{% endfor %}", talk(User, "a", Assistant, "x", User, "b", Assistant, "d"), "(a)(b)[(d)]", 0, 1, 1},
		"asked for":         {"{{ messages | length }}" + plainTurns, talk(User, "4 or 5", Assistant, "4", User, "b", Assistant, "c"), "4<user>4 or 5</s><assistant>[4</s>]<user>b</s><assistant>[c</s>]", 2, 0, 0},
		"question changed":  {"{{ messages | length }}" + strings.Replace(plainTurns, "m.content", "(m.content | upper)", 1), talk(User, "a4", Assistant, "4"), "2<user>A4</s><assistant>4</s>", 0, 1, 0},
		"marked":            {"{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}{% generation %}{{ m.content | trim }}</s>{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}", talk(User, "a", Assistant, " b", Assistant, "c"), "<user>a<assistant>[b</s>]<assistant>[c</s>]", 0, 0, 0},
	} {
		got, err := model(t, c.template).Trained(c.talk, Options{}, []string{"</s>"})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if marked := mark(got); marked != c.want || got.Rewritten != c.rewritten || got.Lost != c.lost || got.Open != c.open {
			t.Errorf("%s:\n got %q, %d rewritten, %d lost, %d open\nwant %q, %d, %d, %d", name, marked, got.Rewritten, got.Lost, got.Open, c.want, c.rewritten, c.lost, c.open)
		}
	}
}

func mark(r *Rendered) string {
	text := r.Text
	for _, s := range slices.Backward(r.Spans) {
		text = text[:s[0]] + "[" + text[s[0]:s[1]] + "]" + text[s[1]:]
	}
	return text
}

func TestTools(t *testing.T) {
	tools, err := jinja.FromJSON([]byte(`[{"type": "function", "function": {"name": "f", "a": "<"}}]`))
	if err != nil {
		t.Fatal(err)
	}
	tpl := model(t, "{% if tools %}{{ tools | tojson }}{% else %}{{ tools }}{% endif %}{{ strftime_now('%Y') }}{{ extra }}")
	c := talk()
	if got, err := tpl.Text(c, Options{}); err != nil || got != "None2024" {
		t.Errorf("%q, %v", got, err)
	}
	c.Tools = tools.(*jinja.List)
	got, err := tpl.Text(c, Options{Date: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), Variables: map[string]any{"extra": true}})
	if want := `[{"type": "function", "function": {"name": "f", "a": "<"}}]1999True`; err != nil || got != want {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := model(t, "{{ raise_exception('roles') }}").Trained(c, Options{}, nil); !Refused(err) || err.Error() != "roles" {
		t.Errorf("%v", err)
	}
	if _, err := model(t, "{{ x.y }}").Trained(c, Options{}, nil); err == nil || Refused(err) {
		t.Errorf("%v", err)
	}
}

// TestBuiltin renders each built-in template. With the prompt the text goes on as the next turn of the assistant does.
func TestBuiltin(t *testing.T) {
	want := map[string]string{
		"chatml": "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n[b<|im_end|>]\n",
		"llama3": "<s><|start_header_id|>system<|end_header_id|>\n\ns<|eot_id|><|start_header_id|>user<|end_header_id|>\n\na<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n[b<|eot_id|>]",
		"zephyr": "<|system|>\ns</s>\n<|user|>\na</s>\n<|assistant|>\n[b</s>]\n",
		"plain":  "<s>### System:\ns\n\n### User:\na\n\n### Assistant:\n[b</s>]\n\n",
	}
	for _, name := range BuiltinNames() {
		tpl, err := Builtin(name, Tokens{"<s>", "</s>"})
		if err != nil {
			t.Fatal(err)
		}
		whole := talk(System, "s", User, "a", Assistant, "b")
		got, err := tpl.Trained(whole, Options{}, []string{"</s>", "<|im_end|>", "<|eot_id|>"})
		if err != nil || mark(got) != want[name] || got.Open > 0 {
			t.Errorf("%s: %q, %v", name, mark(got), err)
		}
		if end := tpl.EndOfTurn(); end == "" || !strings.HasSuffix(mark(got), "b"+end+"]"+got.Text[got.Spans[0][1]:]) {
			t.Errorf("%s: the end of a turn is %q", name, end)
		}
		if prompt, err := tpl.Text(whole.upTo(2), Options{Prompt: true}); err != nil || !strings.HasPrefix(got.Text, prompt+"b") {
			t.Errorf("%s: the prompt %q, %v", name, prompt, err)
		}
	}
	plain, err := Builtin("plain", Tokens{})
	if err != nil {
		t.Fatal(err)
	}
	calling := talk(User, "a", Assistant, "b")
	calling.Messages[1].Set("tool_calls", &jinja.List{Items: []any{jinja.NewDict("name", "f")}})
	if _, err := plain.Text(calling, Options{}); !Refused(err) {
		t.Errorf("a call of a tool: %v", err)
	}
	if _, err := Builtin("nope", Tokens{}); err == nil || !strings.Contains(err.Error(), "chatml, llama3, plain, zephyr") {
		t.Errorf("%v", err)
	}
	if name := BuiltinFor(func(token string) bool { return strings.HasPrefix(token, "<|im_") }); name != "chatml" {
		t.Error(name)
	}
	if name := BuiltinFor(func(string) bool { return false }); name != "plain" {
		t.Error(name)
	}
}

// FuzzTrained renders conversations of two turns by whatever parses: spans are in order, inside the text and whole characters.
func FuzzTrained(f *testing.F) {
	for _, template := range []string{turns, rewrites, prompts} {
		f.Add(template, "a", "<think>b</think> c ", "é")
	}
	f.Fuzz(func(t *testing.T, template, question, first, second string) {
		tpl, err := parse("default", TemplateFile, template, nil)
		if err != nil {
			return
		}
		r, err := tpl.Trained(talk(User, question, Assistant, first, User, question, Assistant, second), Options{}, []string{"</s>"})
		if err != nil {
			return
		}
		at := 0
		for _, s := range r.Spans {
			if s[0] < at || s[1] < s[0] || s[1] > len(r.Text) {
				t.Fatalf("spans %v in %q", r.Spans, r.Text)
			}
			at = s[1]
		}
	})
}
