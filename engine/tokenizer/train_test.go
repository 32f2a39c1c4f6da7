package tokenizer

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func TestTrain(t *testing.T) {
	docs := []string{"low low low lower lowest", "newer newer wider", "猫和狗 猫和狗"}
	file, err := Train(docs, 2+256+12, "<s>", "</s>")
	if err != nil {
		t.Fatal(err)
	}
	again, err := Train(slices.Clone(docs), 2+256+12, "<s>", "</s>")
	if err != nil || !bytes.Equal(file, again) {
		t.Fatalf("the same documents gave another file: %v", err)
	}
	tok, err := Load(file, "trained")
	if err != nil {
		t.Fatal(err)
	}
	if tok.VocabSize() != 270 {
		t.Errorf("%d tokens, want 270", tok.VocabSize())
	}
	for _, text := range append(docs, "low", "a word that was not there: ж 😀\n") {
		ids, err := tok.Encode(text, true)
		if err != nil || ids[0] != 0 {
			t.Fatalf("%q: %v, %v", text, ids, err)
		}
		if got := tok.Decode(ids, true); got != text {
			t.Errorf("%q came back as %q", text, got)
		}
	}
	// "lo" and "ow" occur equally often, 5 times; "lo" sorts first, and "low" follows from it.
	if ids, _ := tok.Encode("low", false); len(ids) != 1 {
		t.Errorf("the commonest word has %d tokens, want 1", len(ids))
	}
}

func TestTrainRefuses(t *testing.T) {
	for _, c := range []struct {
		docs []string
		size int
		want string
	}{
		{[]string{"abc"}, 100, "at least"},
		{[]string{"abc"}, 300, "give 257 tokens"},
	} {
		if _, err := Train(c.docs, c.size, "<s>"); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d tokens of %q: %v, want an error about %q", c.size, c.docs, err, c.want)
		}
	}
}
