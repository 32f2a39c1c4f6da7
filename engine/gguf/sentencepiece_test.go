package gguf_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"llamatab/engine/gguf"
	"llamatab/engine/gguf/gguftest"
	"llamatab/engine/tensor"
	"llamatab/engine/tokenizer"
)

// pieces is a small SentencePiece vocabulary: three special tokens, the bytes, then pieces whose scores fall with their ids. As in every such
// vocabulary, each character of a piece is a piece.
func pieces() (texts []string, scores []float32, types []int32) {
	add := func(text string, score float32, kind int32) {
		texts, scores, types = append(texts, text), append(scores, score), append(types, kind)
	}
	add("<unk>", 0, gguf.TokenUnknown)
	add("<s>", 0, gguf.TokenControl)
	add("</s>", 0, gguf.TokenControl)
	for b := range 256 {
		add(fmt.Sprintf("<0x%02X>", b), 0, gguf.TokenByte)
	}
	for i, text := range strings.Fields("▁t he ▁a in ▁the on re ▁▁ th er ing ▁ e t o a n i h s r d l g ▁th thing ▁thing é") {
		add(text, -float32(i), gguf.TokenNormal)
	}
	add("[PAD0]", -1000, gguf.TokenUnused)
	return texts, scores, types
}

// merged encodes as SentencePiece does: of the neighbours whose union is a piece, those with the best score are merged first, the
// leftmost of equals; what is no piece in the end becomes its bytes.
func merged(text string, texts []string, scores []float32) (ids []int) {
	if text == "" {
		return nil
	}
	var parts []string
	for _, r := range "▁" + strings.ReplaceAll(text, " ", "▁") {
		parts = append(parts, string(r))
	}
	for {
		best, score := -1, float32(0)
		for i := range len(parts) - 1 {
			if id := slices.Index(texts, parts[i]+parts[i+1]); id > 258 && (best < 0 || scores[id] > score) {
				best, score = i, scores[id]
			}
		}
		if best < 0 {
			break
		}
		parts[best] += parts[best+1]
		parts = slices.Delete(parts, best+1, best+2)
	}
	for _, p := range parts {
		if id := slices.Index(texts, p); id >= 0 {
			ids = append(ids, id)
			continue
		}
		for _, b := range []byte(p) {
			ids = append(ids, 3+int(b))
		}
	}
	return ids
}

// A SentencePiece tokenizer gives the ids of SentencePiece's own rule, with bytes for what is no piece, and BOS first.
func TestSentencePieceTokenizer(t *testing.T) {
	words, scores, types := pieces()
	keys := []gguftest.Key{{Name: gguf.KeyArchitecture, Value: "llama"}, {Name: "llama.embedding_length", Value: uint32(4)}, {Name: "llama.block_count", Value: uint32(1)},
		{Name: "llama.feed_forward_length", Value: uint32(4)}, {Name: "llama.attention.head_count", Value: uint32(1)}, {Name: "llama.context_length", Value: uint32(8)},
		{Name: "llama.attention.layer_norm_rms_epsilon", Value: float32(1e-5)}, {Name: gguf.KeyTokenizer, Value: "llama"}, {Name: gguf.KeyTokens, Value: words},
		{Name: gguf.KeyScores, Value: scores}, {Name: gguf.KeyTokenTypes, Value: types}}
	n := len(words)
	f := folder(t, gguftest.File(keys, []gguftest.Tensor{{Name: "token_embd.weight", Type: gguf.F32, Shape: tensor.Of(n, 4), Data: make([]byte, 16*n)}}))
	tok, err := tokenizer.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"the thing", "there is another thing on the ring", "  two  spaces", "naïve é 你好\n", "tthhee", "sheer", "a"} {
		want := append([]int{1}, merged(text, words, scores)...)
		got, err := tok.Encode(text, true)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: ids %v (%v), want %v", text, got, err, want)
		}
		if back := tok.Decode(got, true); back != text {
			t.Errorf("%q decodes to %q", text, back)
		}
	}
	if stops := tok.Stops(); !slices.Equal(stops, []int{2}) {
		t.Errorf("texts end with %v, want </s>", stops)
	}
}
