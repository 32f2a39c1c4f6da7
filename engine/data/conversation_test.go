package data

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"llamatab/engine/chat"
	"llamatab/engine/message"
)

// talks is the chat template of the tests: < and > are BOS and EOS, as bytesTokenizer has them.
const talks = `{% if tools %}T{{ tools|length }}{% endif %}{{ bos_token }}{% for m in messages %}{{ m.role[0] }}:{{ m.content }}{% for c in m.tool_calls %}({{ c.function.name }} {{ c.function.arguments|tojson }}){% endfor %}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}a:{% endif %}`

// spoken are Options with a chat template.
func spoken(t testing.TB, template string) Options {
	t.Helper()
	all, err := chat.Open(fstest.MapFS{"chat_template.jinja": {Data: []byte(template)}}, chat.Tokens{BOS: "\x01", EOS: "\x02"})
	if err != nil {
		t.Fatal(err)
	}
	return Options{Tokenizer: bytesTokenizer{}, Chat: func(tools bool) (*chat.Choice, error) {
		tpl, err := all.Choose("", tools)
		return &chat.Choice{Template: tpl, Ends: []string{"\x02"}}, err
	}}
}

func TestConversations(t *testing.T) {
	for name, c := range map[string]struct {
		src, format string
		change      func(*Options)
		want        []string
	}{
		"messages":          {`{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "an"}]}`, "messages", nil, []string{"(<)(s)(:)(s)(>)(u)(:)(q)(>)(a)(:)an>"}},
		"sharegpt":          {`{"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "an"}], "system": "s"}`, "sharegpt", nil, []string{"(<)(s)(:)(s)(>)(u)(:)(q)(>)(a)(:)an>"}},
		"sharegpt, roles":   {`{"conversations": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "an"}], "system": ""}`, "sharegpt", nil, []string{"(<)(u)(:)(q)(>)(a)(:)an>"}},
		"two turns":         {`{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "r"}, {"role": "assistant", "content": "c"}]}`, "messages", nil, []string{"(<)(u)(:)(q)(>)(a)(:)b>(u)(:)(r)(>)(a)(:)c>"}},
		"all trained":       {`{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}]}`, "messages", func(o *Options) { o.TrainOnPrompt = true }, []string{"<u:q>a:b>"}},
		"tail left out":     {`{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "r"}]}`, "messages", nil, []string{"(<)(u)(:)(q)(>)(a)(:)b>"}},
		"parts":             {`{"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}, {"type": "text", "text": "r"}]}, {"role": "assistant", "content": "b"}]}`, "messages", nil, []string{"(<)(u)(:)(q)(r)(>)(a)(:)b>"}},
		"columns":           {`{"talk": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}]}`, "messages", func(o *Options) { o.Columns = map[string]string{"messages": "talk"} }, []string{"(<)(u)(:)(q)(>)(a)(:)b>"}},
		"guessed":           {`{"id": 1, "dialog": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}]}`, "messages", nil, []string{"(<)(u)(:)(q)(>)(a)(:)b>"}},
		"guessed, sharegpt": {`{"chat": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "b"}]}`, "sharegpt", nil, []string{"(<)(u)(:)(q)(>)(a)(:)b>"}},
		"prompt and answer": {`{"prompt": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "x"}, {"role": "user", "content": "r"}], "completion": [{"role": "assistant", "content": "b"}]}`, "prompt_completion", nil, []string{"(<)(u)(:)(q)(>)(a)(:)(x)(>)(u)(:)(r)(>)(a)(:)b>"}},
		"cut":               {`{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "bcdef"}]}`, "messages", func(o *Options) { o.MaxLength = 9 }, []string{"(<)(u)(:)(q)(>)(a)(:)bc"}},
		"merge over border": {`{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}]}`, "messages", func(o *Options) { o.Tokenizer = bytesTokenizer{merges: []string{":b"}} }, []string{"(<)(u)(:)(q)(>)(a){256}>"}},
		"calls":             {`{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": "{\"x\": 1}"}}]}, {"role": "tool", "content": "1"}, {"role": "assistant", "content": "b"}], "tools": [{"name": "f"}]}`, "messages", nil, []string{`(T)(1)(<)(u)(:)(q)(>)(a)(:)(f {"x": 1})>(t)(:)(1)(>)(a)(:)b>`}},
		"function_call":     {`{"conversations": [{"from": "human", "value": "q"}, {"from": "function_call", "value": "{\"name\": \"f\", \"arguments\": {}}"}, {"from": "observation", "value": "1"}, {"from": "gpt", "value": "b"}], "tools": "[{\"name\": \"f\"}]"}`, "sharegpt", nil, []string{`(T)(1)(<)(u)(:)(q)(>)(a)(:)None(f {})>(t)(:)(1)(>)(a)(:)b>`}},
	} {
		opt := spoken(t, talks)
		if c.change != nil {
			c.change(&opt)
		}
		d, err := loadString(c.src, "a.jsonl", opt)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		// The parentheses of a call are no marks: they are trained, so that they stand in the text as they are.
		if got := showAll(d); !slices.Equal(got, c.want) || d.Format != c.format {
			t.Errorf("%s: %s\n got %q\nwant %q", name, d.Format, got, c.want)
		}
	}
}

func TestConversationFaults(t *testing.T) {
	const good = `{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}]}`
	for src, want := range map[string]string{
		`{"messages": null}`:                                               `"messages" is null`,
		`{"messages": "x"}`:                                                `"messages" wants a list of messages, got a string`,
		`{"messages": []}`:                                                 `"messages" has no messages`,
		`{"messages": ["x"]}`:                                              `message 1 wants an object, got a string`,
		`{"messages": [{"content": "x"}]}`:                                 `message 1: the key "role" is missing`,
		`{"messages": [{"role": 3, "content": "x"}]}`:                      `message 1: "role" wants a string, got a number`,
		`{"messages": [{"role": "robot", "content": "x"}]}`:                `message 1: the role "robot" is unknown`,
		`{"messages": [{"role": "user"}]}`:                                 `message 1: the key "content" is missing`,
		`{"messages": [{"role": "user", "content": null}]}`:                `message 1: "content" is null`,
		`{"messages": [{"role": "user", "content": 3}]}`:                   `message 1: "content" wants a string or a list of text parts, got a number`,
		`{"messages": [{"role": "user", "content": [{"type": "image"}]}]}`: `message 1: a part of type "image" in "content"`,
		`{"messages": [{"role": "user", "content": ["x"]}]}`:               `a list of a string`,
		`{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": ""}]}`:               `message 2: the assistant says nothing`,
		`{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}], "tools": {}}`: `"tools" wants a list of tools, got an object`,
		`{"messages": [{"role": "user", "content": "RAISE"}, {"role": "assistant", "content": "y"}]}`:          `the chat template does not take the conversation: no raising here`,
	} {
		template := `{% for m in messages %}{% if m.content == 'RAISE' %}{{ raise_exception('no raising here') }}{% endif %}{% endfor %}` + talks
		_, err := loadString(good+"\n"+src, "a.jsonl", spoken(t, template))
		bad, ok := errors.AsType[*BadRow](err)
		if !ok || bad.Line != 2 || !strings.Contains(bad.Cause.Error(), want) {
			t.Errorf("%s: %v, want %q in line 2", src, err, want)
			continue
		}
		if _, coded := errors.AsType[*Fault](bad.Cause); !coded {
			t.Errorf("%s: %v has no code", src, err)
		}
		opt := spoken(t, template)
		opt.SkipBad = true
		if d, err := loadString(src+"\n"+good, "a.jsonl", opt); src[13] == '[' && (err != nil || d.Stats.Bad != 1 || d.Stats.Rows != 1) {
			t.Errorf("%s is not left out: %v", src, err)
		}
	}
	for src, want := range map[string]string{
		`{"conversations": [{"value": "x"}]}`:                    `message 1: the key "from" is missing`,
		`{"conversations": [{"from": "human", "value": null}]}`:  `message 1: "value" is null`,
		`{"conversations": [{"from": "narrator", "value": ""}]}`: `the role "narrator" is unknown`,
	} {
		if _, err := loadString(src, "a.jsonl", spoken(t, talks)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", src, err, want)
		}
	}
	// Which of two conversations is meant is not guessed.
	const two = `{"chosen": [{"role": "user", "content": "q"}], "rejected": [{"role": "user", "content": "q"}]}`
	if _, err := loadString(two, "a.jsonl", spoken(t, talks)); err == nil || !strings.Contains(err.Error(), "no format fits") {
		t.Errorf("of two conversations one is read: %v", err)
	}
	// A template that does not parse is no fault of a row.
	opt := spoken(t, "{% if %}")
	opt.SkipBad = true
	if _, err := loadString(good, "a.jsonl", opt); err == nil || !strings.Contains(err.Error(), "chat template") {
		t.Errorf("%v", err)
	}
	if _, err := loadString(good, "a.jsonl", Options{}); !errors.Is(err, errTokenizer) {
		t.Errorf("%v", err)
	}
}

// TestConversationCounts holds what is said of a file: tails, rewritten and open turns, rows with nothing to learn.
func TestConversationCounts(t *testing.T) {
	const src = `{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "<think>t</think>b"}, {"role": "user", "content": "r"}, {"role": "assistant", "content": "c"}, {"role": "user", "content": "tail"}]}
{"messages": [{"role": "user", "content": "nobody answers"}]}
{"messages": [{"role": "user", "content": "a question that is so long that nothing is left of the answer"}, {"role": "assistant", "content": "b"}]}`
	opt := spoken(t, `{% for m in messages %}{{ m.role[0] }}:{{ m.content if loop.last else m.content.split('</think>')[-1] }}|{% endfor %}{% if add_generation_prompt %}a:{% endif %}`)
	opt.MaxLength = 20
	d, err := loadString(src, "a.jsonl", opt)
	if err != nil {
		t.Fatal(err)
	}
	codes := map[string]string{}
	for _, r := range d.Remarks {
		codes[r.Code] = r.Message
	}
	for code, want := range map[string]string{
		"chat_tails": "1 of 2 conversations, the first at line 1", "chat_rewritten": "1 of 3 turns", "chat_open": "3 of 3 turns", "rows_dropped": "2 of 3 rows dropped, the first at line 2",
	} {
		if !strings.Contains(codes[code], want) {
			t.Errorf("%s: %q, want %q", code, codes[code], want)
		}
	}
	if got := showAll(d); len(got) != 1 || got[0] != "(u)(:)(q)(|)(a)(:)b|(u)(:)(r)(|)(a)(:)c|" {
		t.Errorf("%q", got)
	}
	if _, err := loadString(strings.Split(src, "\n")[1], "a.jsonl", opt); err == nil || !strings.Contains(err.Error(), "nothing to train on") {
		t.Errorf("a file without an answer: %v", err)
	}
}

// Roles that do not alternate are counted, each kind once a conversation, with the line of the first.
func TestConversationRoles(t *testing.T) {
	talk := func(roles string) string {
		var b strings.Builder
		for _, c := range roles {
			name := map[rune]string{'s': "system", 'u': "user", 'a': "assistant", 't': "tool"}[c]
			b.WriteString(`, {"role": "` + name + `", "content": "x"}`)
		}
		return `{"messages": [` + strings.TrimPrefix(b.String(), ", ") + "]}\n"
	}
	for _, c := range []struct {
		name  string
		roles []string // of one conversation each
		code  string   // of the only remark, "" for none
		want  string
	}{
		{"alternating", []string{"ua", "sua", "suaua"}, "", ""},
		{"tools between", []string{"uatatta", "sutaua"}, "", ""},
		{"two users", []string{"ua", "uua", "uuauua"}, "chat_repeated", "2 of 3 conversations, the first at line 2,"},
		{"two assistants", []string{"ua", "uaa"}, "chat_repeated", "1 of 2 conversations, the first at line 2,"},
		{"system in the middle", []string{"susa", "ua", "suasua"}, "chat_system_inside", "2 of 3 conversations, the first at line 1,"},
		{"two systems", []string{"ssua"}, "chat_system_inside", "1 of 1 conversations, the first at line 1,"},
		{"assistant first", []string{"aua", "saua", "ua"}, "chat_begun", "2 of 3 conversations, the first at line 1,"},
		{"no user", []string{"ua", "sa"}, "chat_begun", "1 of 2 conversations, the first at line 2,"},
		{"tail", []string{"uau", "ua"}, "chat_tails", "1 of 2 conversations, the first at line 1,"},
	} {
		var src string
		for _, roles := range c.roles {
			src += talk(roles)
		}
		d, err := loadString(src, "a.jsonl", spoken(t, talks))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		found := 0
		for _, r := range d.Remarks {
			if strings.HasPrefix(r.Code, "chat_") {
				if found++; r.Code != c.code || !strings.Contains(r.Message, c.want) {
					t.Errorf("%s: %s: %s", c.name, r.Code, r.Message)
				}
			}
		}
		if found == 0 && c.code != "" || d.Len() != len(c.roles) {
			t.Errorf("%s: no remark on %d rows", c.name, d.Len())
		}
	}
	// A conversation without a turn of the assistant is left out, counted and named.
	d, err := loadString(talk("ua")+talk("uu")+talk("s"), "a.jsonl", spoken(t, talks))
	if err != nil || d.Stats.Dropped != 2 || d.Stats.Masked != 2 || d.Len() != 1 {
		t.Fatalf("%v, %+v", err, d)
	}
	if i := slices.IndexFunc(d.Remarks, func(r message.Remark) bool { return r.Code == "chat_unanswered" }); i < 0 || !strings.Contains(d.Remarks[i].Message, "2 of 3 conversations, the first at line 2, have no turn of the assistant") {
		t.Errorf("%v", d.Remarks)
	}
	// Where a template wants them to alternate, its own refusal names the row.
	strict := `{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}{% endfor %}` + talks
	if _, err := loadString(talk("ua")+talk("uua"), "a.jsonl", spoken(t, strict)); err == nil || !strings.Contains(err.Error(), "line 2: the chat template does not take the conversation: roles must alternate") {
		t.Errorf("%v", err)
	}
}

// FuzzConversation reads whatever is given as one record of each format of conversations.
func FuzzConversation(f *testing.F) {
	for _, src := range []string{
		`{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": [{"type": "text", "text": "a"}], "tool_calls": [{"function": {"arguments": "{}"}}]}], "tools": "[1]"}`,
		`{"conversations": [{"from": "human", "value": "q"}, {"from": "function_call", "value": "[{\"name\": 1}]"}, {"from": "gpt", "value": "a"}], "system": null}`,
		`{"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "a"}]}`,
		`{"messages": [[[[[]]]], {"role": "assistant", "content": "\ud800"}]}`,
	} {
		f.Add(src)
	}
	opt := spoken(f, talks)
	opt.Vocab = 256
	f.Fuzz(func(t *testing.T, src string) {
		d, err := loadString(src, "a.jsonl", opt)
		if err != nil {
			return
		}
		for _, s := range d.Samples {
			if len(s.IDs) != len(s.Labels) || len(s.IDs) > DefaultLength {
				t.Fatalf("%d ids, %d labels", len(s.IDs), len(s.Labels))
			}
		}
	})
}
