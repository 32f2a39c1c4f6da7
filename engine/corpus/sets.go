package corpus

import (
	"regexp"
	"slices"
	"strings"
)

// Set is a dataset to fine-tune the built-in model on.
type Set struct {
	Name  string // file name without its extension
	About string
	Rows  func(seed uint64) []Row
}

// Names of the sets whose rows leave out some of the texts that were drawn (Texts).
const (
	mood      = "mood"
	translate = "translate"
)

// Sets lists the built-in datasets.
var Sets = []Set{
	{"pirate", "A change of style: the same kind of stories, told by a pirate.", Pirate},
	{translate, "A task that the model cannot do: small phrases from English to Chinese.", Translate},
	{mood, "A classification: is a story happy, sad or scary?", Mood},
}

// Pirate is a set of stories told by a pirate: documents to continue in that style.
func Pirate(seed uint64) []Row {
	w := newWriter(seed, "pirate")
	rows := make([]Row, 400)
	for i := range rows {
		rows[i].Text = w.pirate(w.story().text)
	}
	return rows
}

var (
	words      = regexp.MustCompile(`[A-Za-z']+`)
	sentences  = regexp.MustCompile(`[.!]"? `)
	pirateSays = map[string]string{
		"you": "ye", "your": "yer", "my": "me", "friend": "matey", "is": "be", "are": "be", "am": "be", "was": "were", "and": "an'",
		"the": "th'", "yes": "aye", "of": "o'", "found": "plundered", "boy": "lad", "girl": "lass", "house": "ship", "said": "growled",
		"little": "wee", "went": "sailed", "walked": "sailed", "to": "t'", "with": "wi'",
	}
	pirateCries = []string{"Arr!", "Yo-ho-ho!", "Shiver me timbers!", "Ahoy!"}
)

// pirate rewrites a story with a pirate's words, and with a cry at the start and after some sentences.
func (w *writer) pirate(text string) string {
	text = words.ReplaceAllStringFunc(text, func(word string) string {
		said, ok := pirateSays[strings.ToLower(word)]
		switch {
		case !ok:
			return word
		case word[0] >= 'A' && word[0] <= 'Z':
			return capital(said)
		}
		return said
	})
	text = sentences.ReplaceAllStringFunc(text, func(end string) string {
		if w.IntN(3) > 0 {
			return end
		}
		return end + pick(w, pirateCries) + " "
	})
	return pick(w, pirateCries) + " " + text
}

// Translate is a set of prompts with short English phrases and their translations into Chinese, without repetitions. Each word is in
// several phrases, so a model can learn from the others to translate a held-out phrase.
func Translate(seed uint64) (rows []Row) {
	for _, row := range phrases(seed) {
		if !slices.Contains(rows, row) {
			rows = append(rows, row)
		}
	}
	return rows
}

// phrases are the phrases of Translate with repetitions.
func phrases(seed uint64) []Row {
	w := newWriter(seed, "translate")
	rows := make([]Row, 600)
	for i := range rows {
		rows[i].Prompt, rows[i].Completion = w.phrase()
	}
	return rows
}

func (w *writer) phrase() (prompt, translation string) {
	c := w.IntN(len(colours))
	english, chinese := "the "+colours[c]+" ", chineseColours[c]+"的"
	switch w.IntN(3) {
	case 0:
		n := w.IntN(len(animals))
		english, chinese = english+animals[n], chinese+chineseAnimals[n]
	case 1:
		n := w.IntN(len(things))
		english, chinese = english+things[n], chinese+chineseThings[n]
	default:
		n := w.IntN(len(foods))
		english, chinese = english+foods[n], chinese+chineseFoods[n]
	}
	return "Translate to Chinese: " + english + "\nAnswer:", " " + chinese
}

// Mood is a set of pieces of stories with their moods, one of Moods. A piece is three or more sentences in a row, so that a story
// cannot be recognised by its first or last sentence.
func Mood(seed uint64) []Row {
	w := newWriter(seed, "mood pieces")
	var rows []Row
	for _, s := range moodStories(seed) {
		all := wholeSentence.FindAllString(s.text, -1)
		row := Row{Label: s.mood}
		for row.Text == "" || slices.Contains(rows, row) { // no two alike
			from := w.IntN(len(all) - 2)
			to := from + 3 + w.IntN(len(all)-from-2)
			row.Text = strings.TrimSpace(strings.Join(all[from:to], ""))
		}
		rows = append(rows, row)
	}
	return rows
}

var wholeSentence = regexp.MustCompile(`[^.!?]+[.!?]+"?`)

// moodStories are the whole stories of Mood, the same number of each mood.
func moodStories(seed uint64) []story {
	w := newWriter(seed, "mood")
	stories := make([]story, 600)
	for i := range stories {
		for stories[i].mood != Moods[i%len(Moods)] {
			stories[i] = w.story()
		}
	}
	w.Shuffle(len(stories), func(i, j int) { stories[i], stories[j] = stories[j], stories[i] })
	return stories
}

// Texts are the texts of the sets for training a tokenizer: whole stories, and phrases with repetitions.
func Texts(seed uint64) (texts []string) {
	for _, s := range Sets {
		rows := s.Rows
		switch s.Name {
		case mood:
			for _, s := range moodStories(seed) {
				texts = append(texts, s.text)
			}
			continue
		case translate:
			rows = phrases
		}
		for _, row := range rows(seed) {
			texts = append(texts, row.Prompt+row.Completion+row.Text)
		}
	}
	return texts
}
