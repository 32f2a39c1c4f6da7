package chat

import (
	"slices"
	"strings"
	"testing"
)

// TestOutline marks with | where the messages begin in what a template makes of them.
func TestOutline(t *testing.T) {
	named := `{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}`
	// It leaves out the thinking of all turns but the last, and refuses a conversation that begins with the assistant or ends with a system prompt.
	rewriting := `{% if messages[-1].role == 'system' %}{{ raise_exception('a system prompt alone') }}{% endif %}{% for m in messages %}<{{ m.role }}>` +
		`{{ m.content if loop.last else m.content.split('</think>')|last }}</>{% endfor %}`
	for name, c := range map[string]struct {
		template string
		talk     *Conversation
		want     string
	}{
		"each message":    {named, talk("system", "s", "user", "q", "assistant", "a"), "|<system>s</>|<user>q</>|<assistant>a</>"},
		"one message":     {named, talk("user", "q"), "|<user>q</>"},
		"equal texts":     {named, talk("user", "a", "assistant", "a", "user", "a", "assistant", "a"), "|<user>a</>|<assistant>a</>|<user>a</>|<assistant>a</>"},
		"a default":       {`<system>be kind</>` + named, talk("user", "q", "assistant", "a"), "|<system>be kind</><user>q</>|<assistant>a</>"},
		"no text":         {named, talk("user", "q", "assistant", "", "user", "r"), "|<user>q</>|<assistant></>|<user>r</>"},
		"refused prefix":  {rewriting, talk("system", "s", "user", "q", "assistant", "a"), "|<system>s</><user>|q</>|<assistant>a</>"},
		"rewritten turns": {rewriting, talk("user", "q", "assistant", "<think>x</think>a", "user", "r", "assistant", "b"), "|<user>q</>|<assistant>a</>|<user>r</>|<assistant>b</>"},
		"left out":        {`{% for m in messages if m.role != 'system' %}<{{ m.role }}>{{ m.content }}</>{% endfor %}`, talk("user", "q", "system", "s", "assistant", "a"), "|<user>q</>||<assistant>a</>"},
	} {
		tpl, err := parse("t", "", c.template, nil)
		if err != nil {
			t.Fatal(err)
		}
		text, err := tpl.Text(c.talk, Options{})
		if err != nil {
			t.Fatal(err)
		}
		marked, turns := text, tpl.Outline(c.talk, text)
		for _, turn := range slices.Backward(turns) {
			marked = marked[:turn.From] + "|" + marked[turn.From:]
		}
		if marked != c.want {
			t.Errorf("%s: %q, want %q", name, marked, c.want)
		}
		for i, turn := range turns {
			if !strings.Contains(c.want, turn.Role) && turn.Role != System || i > 0 && turns[i-1].From > turn.From {
				t.Errorf("%s: %+v", name, turns)
			}
		}
	}
}
