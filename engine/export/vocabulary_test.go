package export

import (
	"strings"
	"testing"

	"llamatab/engine/tokenizer"
)

// A tokenizer of SentencePiece's form is written where its merges are those that llama.cpp finds by the tokens and their scores, and
// refused with the reason where they are not.
func TestMergesThatScoresExpress(t *testing.T) {
	tokens := []string{"<unk>", "a", "b", "c", "ab", "bc", "abc"}
	kinds := []tokenizer.Kind{tokenizer.Unknown, tokenizer.Normal, tokenizer.Normal, tokenizer.Normal, tokenizer.Normal, tokenizer.Normal, tokenizer.Normal}
	all := [][2]string{{"b", "c"}, {"a", "b"}, {"ab", "c"}, {"a", "bc"}}
	for _, c := range []struct {
		name   string
		change func(v *tokenizer.Vocabulary)
		says   string // "" for none
	}{
		{"all pairs", func(*tokenizer.Vocabulary) {}, ""},
		{"a pair is missing", func(v *tokenizer.Vocabulary) { v.Merges = all[:3] }, "3 merges, and llama.cpp would join 4 pairs"},
		{"two ranks for a token", func(v *tokenizer.Vocabulary) { v.Merges = [][2]string{all[0], all[2], all[1], all[3]} }, `make "abc" do not stand together`},
		{"whole pieces first", func(v *tokenizer.Vocabulary) { v.WholeFirst = true }, "ignore_merges"},
		{"a prefix at the start alone", func(v *tokenizer.Vocabulary) { v.SpacePrefix, v.PrefixOnce = true, true }, "after each special token"},
	} {
		v := &tokenizer.Vocabulary{Tokens: tokens, Kinds: kinds, Merges: all}
		c.change(v)
		_, err := piecesKeys(v, len(tokens))
		if err == nil && c.says != "" || err != nil && (c.says == "" || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: error %v, want one that says %q", c.name, err, c.says)
		}
	}
}
