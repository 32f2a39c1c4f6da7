package tokenizer

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"testing"

	"llamatab/engine/testfiles"
)

// TestOriginal compares with the original library over every pipeline; testdata/golden.mjs made the file.
func TestOriginal(t *testing.T) {
	path := "testdata/golden.json"
	if other := os.Getenv("TOKENIZER_GOLDEN"); other != "" { // a larger file of the same kind
		path = other
	}
	var golden struct {
		Library string
		Models  map[string]json.RawMessage
		Files   []json.RawMessage
	}
	readJSON(t, path, &golden)
	for _, raw := range golden.Files {
		var about struct {
			Name, Model string
			Removes     bool // parts of a text, so that no token stands for them
			Cases       []struct {
				Text             string
				IDs, Special     []int
				Decoded, Skipped string
			}
			Decodes []struct {
				IDs              []int
				Decoded, Skipped string
			}
		}
		var file map[string]json.RawMessage
		if err := errors.Join(json.Unmarshal(raw, &about), json.Unmarshal(raw, &file)); err != nil {
			t.Fatal(err)
		}
		file["model"] = golden.Models[about.Model]
		data, err := json.Marshal(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(about.Name, func(t *testing.T) {
			tok, err := Load(data, about.Name)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range about.Cases {
				for special, want := range map[bool][]int{false: c.IDs, true: c.Special} {
					if got, err := tok.Encode(c.Text, special); err != nil || !slices.Equal(got, want) {
						t.Errorf("Encode(%q, %v) = %v, %v\n%s says %v", c.Text, special, got, err, golden.Library, want)
					}
				}
				checkDecode(t, tok, c.Special, c.Decoded, c.Skipped)
				if !about.Removes {
					checkOffsets(t, tok, c.Text, c.IDs)
				} else if ids, offsets, err := tok.EncodeOffsets(c.Text); err != nil || !slices.Equal(ids, c.IDs) || len(offsets) != len(ids) {
					t.Errorf("EncodeOffsets(%q) = %v, %v, %v, want ids %v", c.Text, ids, offsets, err, c.IDs)
				}
			}
			for _, c := range about.Decodes {
				checkDecode(t, tok, c.IDs, c.Decoded, c.Skipped)
			}
		})
	}
}

// TestStories compares with the checkpoint of shared/ and the golden file that goes with it.
func TestStories(t *testing.T) {
	tok := stories(t)
	var golden struct {
		Cases []struct {
			Text, Decoded string
			IDs           []int `json:"ids"`
			HF            []int `json:"hf_ids"`
		}
	}
	readJSON(t, testfiles.Shared(t, "golden/tok_stories260k.json"), &golden)
	for _, c := range golden.Cases {
		if got, err := tok.Encode(c.Text, false); err != nil || !slices.Equal(got, c.HF) {
			t.Errorf("Encode(%q) = %v, %v, want %v", c.Text, got, err, c.HF)
		}
		if got := tok.Decode(c.HF, false); got != c.Text {
			t.Errorf("Decode(Encode(%q)) = %q", c.Text, got)
		}
		if got := tok.Decode(c.IDs, false); got != c.Decoded {
			t.Errorf("Decode(%v) = %q, want %q", c.IDs, got, c.Decoded)
		}
		checkOffsets(t, tok, c.Text, c.HF)
	}
	if got, _ := tok.Encode("the", true); !slices.Equal(got, []int{1, 265}) {
		t.Errorf("with special tokens: %v", got)
	}
	if n := tok.VocabSize(); n != 512 {
		t.Errorf("vocabulary of %d", n)
	}
}

func stories(t testing.TB) *Tokenizer {
	path := testfiles.Shared(t, "models/stories260k/tokenizer.json")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := Load(data, path)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// checkDecode decodes with special tokens and without. Whole and streamed decoding are one code.
func checkDecode(t *testing.T, tok *Tokenizer, ids []int, all, skipped string) {
	t.Helper()
	for skip, want := range map[bool]string{false: all, true: skipped} {
		if got := tok.Decode(ids, skip); got != want {
			t.Errorf("Decode(%v, %v) = %q, want %q", ids, skip, got, want)
		}
	}
}

// checkOffsets holds offsets to what they promise: in order, on the borders of characters, all of the text covered.
func checkOffsets(t *testing.T, tok *Tokenizer, text string, want []int) {
	t.Helper()
	ids, offsets, err := tok.EncodeOffsets(text)
	if err != nil || !slices.Equal(ids, want) || len(offsets) != len(ids) {
		t.Errorf("EncodeOffsets(%q) = %v, %v, %v, want ids %v", text, ids, offsets, err, want)
		return
	}
	starts := map[int]bool{len(text): true}
	for i := range text {
		starts[i] = true
	}
	covered := 0
	for i, o := range offsets {
		if o[0] > o[1] || o[0] > covered || o[1] < covered && o[1] != o[0] || !starts[o[0]] || !starts[o[1]] {
			t.Errorf("EncodeOffsets(%q): token %d (%d) has %v after %d", text, i, ids[i], o, covered)
			return
		}
		covered = max(covered, o[1])
	}
	if covered != len(text) {
		t.Errorf("EncodeOffsets(%q): %v leave bytes from %d on without a token", text, offsets, covered)
	}
}

func readJSON(t testing.TB, path string, v any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		t.Fatal(err)
	}
}
