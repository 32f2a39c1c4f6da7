package corpus

import (
	"slices"
	"strings"
	"testing"
)

// TestGrammar writes so many texts that each template and choice is used. An open bracket or a missing slot panics, and no text
// may have characters of the template language.
func TestGrammar(t *testing.T) {
	for _, doc := range Base(1, 5000) {
		if strings.ContainsAny(doc, "{}[]|") || strings.Contains(doc, "  ") || doc == "" {
			t.Fatalf("badly written: %q", doc)
		}
	}
	for _, s := range Sets {
		for _, row := range s.Rows(1) {
			if all := row.Text + row.Prompt + row.Completion; strings.ContainsAny(all, "{}[]|") || all == "" {
				t.Fatalf("%s: badly written: %+v", s.Name, row)
			}
		}
	}
}

func TestSameSeedSameText(t *testing.T) {
	if !slices.Equal(Base(3, 200), Base(3, 200)) || slices.Equal(Base(3, 200), Base(4, 200)) {
		t.Error("the seed does not decide the corpus")
	}
	for _, s := range Sets {
		if !slices.Equal(s.Rows(3), s.Rows(3)) || slices.Equal(s.Rows(3), s.Rows(4)) {
			t.Errorf("%s: the seed does not decide the set", s.Name)
		}
	}
}

func TestMoodsAreBalanced(t *testing.T) {
	count := map[string]int{}
	for _, row := range Mood(7) {
		count[row.Label]++
	}
	if len(count) != len(Moods) || count[Moods[0]] != count[Moods[1]] || count[Moods[1]] != count[Moods[2]] {
		t.Errorf("labels %v", count)
	}
}

func TestListsCorrespond(t *testing.T) {
	for _, p := range [][2][]string{{animals, chineseAnimals}, {places, chinesePlaces}, {things, chineseThings}, {colours, chineseColours}, {foods, chineseFoods}} {
		if len(p[0]) != len(p[1]) {
			t.Errorf("%v and %v differ in length", p[0], p[1])
		}
	}
}
