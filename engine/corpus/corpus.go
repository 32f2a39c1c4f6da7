// Package corpus writes the texts that the built-in model learned from and the sets that it is fine-tuned on: small
// stories and question tasks, in English and partly in Chinese, from a grammar and word lists of its own. The same seed
// always gives the same text.
package corpus

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Row is one line of a JSON Lines dataset. Empty fields are left out.
type Row struct {
	Text       string `json:"text,omitempty"`
	Label      string `json:"label,omitempty"`
	Prompt     string `json:"prompt,omitempty"`
	Completion string `json:"completion,omitempty"`
}

// writer draws texts from the grammar.
type writer struct{ *rand.Rand }

func newWriter(seed uint64, stream string) *writer {
	h := uint64(14695981039346656037) // FNV-1a of the stream's name: streams of one seed are independent
	for _, b := range []byte(stream) {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return &writer{rand.New(rand.NewPCG(seed, h))}
}

func pick[T any](w *writer, from []T) T { return from[w.IntN(len(from))] }

// expand fills a template: {name} is the value of a slot, [a|b|c] one of the choices, which may hold slots and
// further choices. {Name} is the slot with a capital. A slot without a value is a mistake in the grammar and panics.
func (w *writer) expand(template string, slots map[string]string) string {
	var b strings.Builder
	for template != "" {
		i := strings.IndexAny(template, "{[")
		if i < 0 {
			b.WriteString(template)
			break
		}
		b.WriteString(template[:i])
		if template[i] == '{' {
			end := strings.IndexByte(template[i:], '}') + i
			name := template[i+1 : end]
			upper := name[0] >= 'A' && name[0] <= 'Z'
			if upper {
				name = strings.ToLower(name[:1]) + name[1:]
			}
			value, ok := slots[name]
			if !ok {
				panic(fmt.Sprintf("corpus: no slot %q", name))
			}
			if upper {
				value = capital(value)
			}
			b.WriteString(value)
			template = template[end+1:]
			continue
		}
		choices, rest := choicesOf(template[i:])
		b.WriteString(w.expand(pick(w, choices), slots))
		template = rest
	}
	return b.String()
}

// choicesOf splits "[a|b[c|d]]rest" into its choices and the rest.
func choicesOf(s string) (choices []string, rest string) {
	depth, from := 0, 1
	for i := range len(s) {
		switch s[i] {
		case '[':
			depth++
		case '|':
			if depth == 1 {
				choices, from = append(choices, s[from:i]), i+1
			}
		case ']':
			if depth--; depth == 0 {
				return append(choices, s[from:i]), s[i+1:]
			}
		}
	}
	panic(fmt.Sprintf("corpus: open bracket in %q", s))
}

func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// withArticle puts "a" or "an" before a noun phrase.
func withArticle(s string) string {
	if strings.ContainsRune("aeiou", rune(s[0])) {
		return "an " + s
	}
	return "a " + s
}

// Base is the corpus of the built-in model: n documents, about two thirds English stories, the rest Chinese stories and
// question tasks.
func Base(seed uint64, n int) []string {
	w := newWriter(seed, "base")
	docs := make([]string, n)
	for i := range docs {
		switch r := w.IntN(20); {
		case r < 13:
			docs[i] = w.story().text
		case r < 16:
			docs[i] = w.chineseStory()
		default:
			prompt, answer := w.task()
			docs[i] = prompt + answer
		}
	}
	return docs
}
