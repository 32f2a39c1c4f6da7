package tokenizer

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Train learns a byte-level BPE vocabulary of size tokens from documents and returns its tokenizer.json: the special
// tokens first (the first of them begins a text), then the 256 bytes, then merges of the pair that occurs most often,
// again and again, within the words that GPT-2's pattern cuts. Of pairs that occur equally often the one whose text
// sorts first is taken, so the same documents always give the same file. Sennrich et al. 2016, arXiv:1508.07909.
func Train(documents []string, size int, special ...string) ([]byte, error) {
	if least := len(special) + len(byteRunes); size < least || len(special) == 0 {
		return nil, fmt.Errorf("tokenizer: %d tokens with %d special ones, want at least %d with one", size, len(special), least)
	}
	words := map[string]int{}
	for _, d := range documents {
		for d != "" {
			n := splitGPT2(d)
			words[d[:n]]++
			d = d[n:]
		}
	}
	// A word is a chain of tokens, at first its bytes in their printable form.
	type chain struct {
		tokens []string
		count  int
	}
	chains := make([]chain, 0, len(words))
	for word, count := range words {
		c := chain{count: count}
		for _, b := range []byte(word) {
			c.tokens = append(c.tokens, string(byteRunes[b]))
		}
		chains = append(chains, c)
	}
	vocab := map[string]int{}
	for _, s := range special {
		vocab[s] = len(vocab)
	}
	for _, r := range byteRunes {
		vocab[string(r)] = len(vocab)
	}
	var merges [][2]string
	for len(vocab) < size {
		counts := map[[2]string]int{}
		for _, c := range chains {
			for i := range len(c.tokens) - 1 {
				counts[[2]string{c.tokens[i], c.tokens[i+1]}] += c.count
			}
		}
		var best [2]string
		most := 1 // a pair that occurs once teaches nothing
		for pair, n := range counts {
			if n > most || n == most && n > 1 && slices.CompareFunc(pair[:], best[:], cmp.Compare[string]) < 0 {
				best, most = pair, n
			}
		}
		if most == 1 {
			return nil, fmt.Errorf("tokenizer: the documents give %d tokens, fewer than %d", len(vocab), size)
		}
		joined := best[0] + best[1]
		if _, twice := vocab[joined]; !twice {
			vocab[joined] = len(vocab)
		}
		merges = append(merges, best)
		for k, c := range chains {
			out := c.tokens[:0]
			for i := 0; i < len(c.tokens); i++ {
				if i+1 < len(c.tokens) && c.tokens[i] == best[0] && c.tokens[i+1] == best[1] {
					out = append(out, joined)
					i++
				} else {
					out = append(out, c.tokens[i])
				}
			}
			chains[k].tokens = out
		}
	}
	return tokenizerJSON(vocab, merges, special)
}

// tokenizerJSON writes the file as Hugging Face tokenizers lays it out.
func tokenizerJSON(vocab map[string]int, merges [][2]string, special []string) ([]byte, error) {
	type object = map[string]any
	added := []object{}
	for id, s := range special {
		added = append(added, object{
			"id": id, "content": s, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true,
		})
	}
	spelled := make([]string, len(merges))
	for i, m := range merges {
		spelled[i] = strings.Join(m[:], " ")
	}
	byteLevel := object{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}
	bos := special[0]
	return json.MarshalIndent(object{
		"version": "1.0", "truncation": nil, "padding": nil, "added_tokens": added, "normalizer": nil,
		"pre_tokenizer": byteLevel, "decoder": byteLevel,
		"post_processor": object{
			"type":   "TemplateProcessing",
			"single": []object{{"SpecialToken": object{"id": bos, "type_id": 0}}, {"Sequence": object{"id": "A", "type_id": 0}}},
			"pair": []object{{"SpecialToken": object{"id": bos, "type_id": 0}}, {"Sequence": object{"id": "A", "type_id": 0}},
				{"SpecialToken": object{"id": bos, "type_id": 1}}, {"Sequence": object{"id": "B", "type_id": 1}}},
			"special_tokens": object{bos: object{"id": bos, "ids": []int{0}, "tokens": []string{bos}}},
		},
		"model": object{
			"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": nil, "end_of_word_suffix": nil,
			"fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": vocab, "merges": spelled,
		},
	}, "", " ")
}
