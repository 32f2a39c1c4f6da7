package job_test

import (
	"encoding/json"
	"io"
	"strings"
	"testing"
	"testing/fstest"

	"llamatab/engine/job"
	"llamatab/engine/message"
	"llamatab/engine/report"
)

// askingHost is a host that hands over conversations from a list.
type askingHost struct {
	*host
	asks []message.Ask
}

func (h *askingHost) Ask() (message.Ask, error) {
	if len(h.asks) == 0 {
		return message.Ask{}, io.EOF
	}
	a := h.asks[0]
	h.asks = h.asks[1:]
	return a, nil
}

// talk runs a chat job over a list of conversations and returns the replies.
func talk(t *testing.T, files report.Files, context int, control func() message.Control, asks ...message.Ask) (replies []message.Reply, said string) {
	t.Helper()
	h := &askingHost{host: newHost(), asks: asks}
	h.control = control
	j := &job.Job{Job: message.Job{Command: message.Chat, Chat: &message.ChatJob{Context: context}}, Files: files, Host: h, Open: open(t)}
	if err := job.Run(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	for _, m := range h.sent {
		if m.Token != nil {
			said += m.Token.Text
		}
		if m.Reply != nil {
			replies = append(replies, *m.Reply)
		}
	}
	return replies, said
}

// asking is a conversation of turns, the person's first, whose answer is greedy and of 6 tokens at most.
func asking(turns ...string) message.Ask {
	roles := []string{"user", "assistant"}
	var messages []map[string]string
	for i, text := range turns {
		messages = append(messages, map[string]string{"role": roles[i%2], "content": text})
	}
	row, _ := json.Marshal(map[string]any{"messages": messages})
	return message.Ask{Number: len(turns), Conversation: row, Sampling: message.GenerateJob{MaxNewTokens: 6, TopP: 1}}
}

// talkative is the tiny model with a chat template that its letters can spell.
func talkative(t *testing.T) fstest.MapFS {
	m := withTokenizer(tiny(t, true, false, nil))
	m["chat_template.jinja"] = &fstest.MapFile{Data: []byte(`{% for m in messages %}{{ {'user': 'u', 'assistant': 'a', 'system': 's'}[m.role] ~ m.content }}{% endfor %}{% if add_generation_prompt %}a{% endif %}`)}
	return m
}

// An answer is what generate continues the rendered conversation to. A further turn computes only what is new, and has the bits of
// one that computes everything.
func TestChat(t *testing.T) {
	files := report.Files{Model: talkative(t)}
	first := asking("bc")
	replies, said := talk(t, files, 64, nil, first)
	var generated struct{ Text string }
	answer(t, &job.Job{Job: message.Job{Command: message.Generate, Generate: &message.GenerateJob{Prompt: "ubca", MaxNewTokens: 6, TopP: 1}}, Files: files, Host: newHost(), Open: open(t)}, &generated)
	one := replies[0]
	if one.Text == "" || "ubca"+one.Text != generated.Text || said != one.Text || one.PromptTokens != 4 || one.Tokens != 6 || one.Finish != "length" || one.CachedTokens != 0 {
		t.Errorf("answers %+v, streams %q; generate writes %q", one, said, generated.Text)
	}
	second := asking("bc", one.Text, "d")
	replies, _ = talk(t, files, 64, nil, first, second, asking("x"), second)
	whole, _ := talk(t, files, 64, nil, second)
	for i, cached := range []int{0, 9, 1, 1} {
		if replies[i].CachedTokens != cached {
			t.Errorf("answer %d: %d of %d tokens were there, want %d", i, replies[i].CachedTokens, replies[i].PromptTokens, cached)
		}
	}
	if replies[0].Text != one.Text || replies[1].Text != whole[0].Text || replies[3].Text != whole[0].Text || whole[0].CachedTokens != 0 {
		t.Errorf("answers %+v; without what was computed before %+v", replies, whole)
	}
}

// A conversation that cannot be answered is told, and the next one is answered.
func TestChatFaults(t *testing.T) {
	files := report.Files{Model: talkative(t)}
	long := asking(strings.Repeat("b", 40))
	role := message.Ask{Conversation: json.RawMessage(`{"messages": [{"role": "king", "content": "a"}]}`), Sampling: long.Sampling}
	null := message.Ask{Conversation: json.RawMessage(`{"messages": [{"role": "user", "content": null}]}`), Sampling: long.Sampling}
	none := message.Ask{Conversation: json.RawMessage(`{"messages": []}`), Sampling: long.Sampling}
	hot := asking("b")
	hot.Sampling.TopP = 0
	good := asking("bc", "", "d") // a history with an answer that was cut off at once
	replies, _ := talk(t, files, 24, nil, long, role, null, none, hot, asking("B"), good)
	for i, want := range []string{"42 tokens", `the role "king" is unknown`, "is null", "no messages", "top_p", "no token"} {
		if f := replies[i].Failed; f == nil || !strings.Contains(f.Message, want) || f.Next == "" || f.Exit != report.ExitConfig {
			t.Errorf("answer %d: %+v, want %q", i, f, want)
		}
	}
	if r := replies[6]; r.Failed != nil || r.Text == "" {
		t.Errorf("then %+v", r)
	}
}

// An answer ends before a stop text, whichever tokens spell it, and when it is cancelled.
func TestChatEnds(t *testing.T) {
	files := report.Files{Model: talkative(t)}
	whole, _ := talk(t, files, 64, nil, asking("bc"))
	text := whole[0].Text
	if len(text) != 6 {
		t.Fatalf("%q has no six letters", text)
	}
	stop := asking("bc")
	stop.Stop = []string{"none", text[2:4]}
	at := strings.Index(text, text[2:4])
	replies, said := talk(t, files, 64, nil, stop)
	if r := replies[0]; r.Text != text[:at] || said != r.Text || r.Finish != "stop" {
		t.Errorf("stops with %+v, streams %q; the whole answer is %q", r, said, text)
	}
	calls := 0
	replies, _ = talk(t, files, 64, func() message.Control {
		if calls++; calls == 3 {
			return message.Cancel(1)
		}
		return message.Cancel(7) // of another answer
	}, asking("bc"), asking("bc"))
	if r := replies[0]; r.Text != text[:2] || r.Finish != "cancelled" || replies[1].Text != text {
		t.Errorf("cancelled: %+v", replies)
	}
}
