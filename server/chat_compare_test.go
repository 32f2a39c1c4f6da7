package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"llamatab/engine/message"
)

// screen is what a terminal shows of text with the escape sequences that columns writes.
func screen(t *testing.T, text string) []string {
	t.Helper()
	lines := [][]rune{nil}
	row, column := 0, 0
	at := []rune(text)
	for i := 0; i < len(at); i++ {
		switch r := at[i]; r {
		case '\n':
			row, column = row+1, 0
			for row >= len(lines) {
				lines = append(lines, nil)
			}
		case '\r':
			column = 0
		case '\x1b':
			n := 0
			for i += 2; at[i] >= '0' && at[i] <= '9'; i++ {
				n = 10*n + int(at[i]-'0')
			}
			switch at[i] {
			case 'A':
				row -= n
			case 'B':
				row += n
			case 'G':
				column = n - 1
			}
			if row < 0 || row >= len(lines) {
				t.Fatalf("the cursor leaves the text: %q", text)
			}
		default:
			for len(lines[row]) < column+runeWidth(r) {
				lines[row] = append(lines[row], ' ')
			}
			lines[row][column] = r
			column += runeWidth(r)
			if runeWidth(r) == 2 {
				lines[row][column-1] = 0 // the character's second half
			}
		}
	}
	var shown []string
	for _, line := range lines {
		shown = append(shown, strings.TrimRight(strings.ReplaceAll(string(line), "\x00", ""), " "))
	}
	return shown
}

// Two texts stand side by side, whatever pieces they come in: lines break between words, a text that is longer than the other goes
// on alone, and one that fills the screen has the other below it.
func TestColumns(t *testing.T) {
	for name, c := range map[string]struct {
		left, right string
		want        []string
	}{
		"one line each": {"Hello there", "Arr, matey", []string{"Hello there                              Arr, matey", ""}},
		"left is longer": {strings.Repeat("word ", 9) + "end\nlast", "short", []string{
			"word word word word word word word       short", "word word end", "last", ""}},
		"right is longer": {"short", "one\ntwo\nthree", []string{
			"short                                    one", "                                         two", "                                         three", ""}},
		"a word longer than a line": {strings.Repeat("x", 40), "y", []string{strings.Repeat("x", 38) + "   y", "xx", ""}},
		"wide characters":           {strings.Repeat("海", 20), "盗", []string{strings.Repeat("海", 19) + "   盗", "海", ""}},
		"no escape from the model":  {"a\x1b[2Jb\rc", "d\te", []string{"a[2Jb c                                  d e", ""}},
		"more than the screen":      {strings.Repeat("l\n", 11) + "end", "r", []string{"l", "l", "l", "l", "l", "l", "l", "l", "l", "l", "l", "end", "", "r", ""}},
	} {
		for _, piece := range []int{1, 3, 1000} {
			var out bytes.Buffer
			w := newColumns(&out, 80, 12)
			add := func(text string) {
				for runes := []rune(text); len(runes) > 0; {
					n := min(piece, len(runes))
					w.add(string(runes[:n]))
					runes = runes[n:]
				}
			}
			add(c.left)
			w.turn()
			add(c.right)
			w.end()
			got := screen(t, out.String())
			for i := range got {
				got[i] = strings.TrimRight(got[i], " ")
			}
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("%s, in pieces of %d:\n%s\nwant\n%s", name, piece, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		}
	}
	if newColumns(nil, 79, 24) != nil || newColumns(nil, 0, 0) != nil {
		t.Error("a narrow terminal has columns")
	}
}

// namedModels answer with their name and as many marks as the conversation has messages. They have nothing to say to "silence",
// and refuse "king".
type namedModels struct{ asked []message.Ask }

func (m *namedModels) over() <-chan struct{} { return nil }
func (m *namedModels) ending() error         { return nil }

func (m *namedModels) Ask(_ context.Context, a message.Ask, each func(string)) (*message.Reply, error) {
	m.asked = append(m.asked, a)
	var row struct{ Messages []turn }
	if err := json.Unmarshal(a.Conversation, &row); err != nil {
		return nil, err
	}
	switch row.Messages[len(row.Messages)-1].Content {
	case "silence":
		return &message.Reply{Finish: "stop"}, nil
	case "king":
		return nil, errors.New("the role is unknown")
	}
	text := map[bool]string{true: "Hm", false: "Arr"}[a.Base] + strings.Repeat("!", len(row.Messages))
	each(text[:2])
	each(text[2:])
	return &message.Reply{Text: text, Finish: "stop", PromptTokens: 5, Tokens: 2}, nil
}

// Both models answer each message, each with its own answers in its history: one after the other, side by side, or as JSON lines.
func TestChatCompare(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(c *chatter)
		want string
	}{
		"one after the other": {func(*chatter) {}, "before: Hm!!\nafter: Arr!!\nbefore: \nafter: \nbefore: Hm!!!!\nafter: Arr!!!!\n"},
		"side by side": {func(c *chatter) { c.columns = newColumns(c.out, 80, 24) },
			"before                                   after\nHm!!                                     Arr!!\nbefore                                   after\n\nbefore                                   after\nHm!!!!                                   Arr!!!!\n"},
		"as JSON": {func(c *chatter) { c.asJSON = true }, `{"model":"base","role":"assistant","content":"Hm!!","finish":"stop","prompt_tokens":5,"tokens":2}
{"model":"adapter","role":"assistant","content":"Arr!!","finish":"stop","prompt_tokens":5,"tokens":2}
{"model":"base","role":"assistant","content":"","finish":"stop","prompt_tokens":0,"tokens":0}
{"model":"adapter","role":"assistant","content":"","finish":"stop","prompt_tokens":0,"tokens":0}
{"model":"base","role":"assistant","content":"Hm!!!!","finish":"stop","prompt_tokens":5,"tokens":2}
{"model":"adapter","role":"assistant","content":"Arr!!!!","finish":"stop","prompt_tokens":5,"tokens":2}
`},
	} {
		var out bytes.Buffer
		models := &namedModels{}
		chat := &chatter{talk: models, in: bufio.NewReader(strings.NewReader("Hi\nsilence\nAnd?\n")), out: &out,
			speakers: []*speaker{{name: "base", label: "before"}, {name: "adapter", label: "after"}}}
		c.set(chat)
		chat.begin("Be brief.")
		if err := chat.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		shown := out.String()
		if chat.columns != nil {
			shown = strings.Join(screen(t, shown), "\n")
		}
		if shown != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, shown, c.want)
		}
		if got, want := string(models.asked[5].Conversation), `{"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"},{"role":"assistant","content":"Arr!!"},{"role":"user","content":"And?"}]}`; got != want || models.asked[5].Base {
			t.Errorf("%s: the model with the adapter is asked %s", name, got)
		}
	}
	// An error ends a script, and is told to a person, who may go on.
	for _, person := range []bool{false, true} {
		var out bytes.Buffer
		models := &namedModels{}
		chat := &chatter{talk: models, in: bufio.NewReader(strings.NewReader("king\nHi\n")), out: &out, person: person, speakers: []*speaker{{}}}
		if err := chat.run(t.Context()); (err == nil) != person || len(models.asked) != map[bool]int{false: 1, true: 2}[person] {
			t.Errorf("person %t: %v, asked %d times", person, err, len(models.asked))
		}
	}
}
