package corpus

import (
	"maps"
	"slices"
	"strings"
)

// person is a hero's name with its pronouns.
type person struct{ name, he, his, him string }

var people = func() (all []person) {
	for _, n := range strings.Fields("Mia Lily Anna Zoe Nora Ella Ruby Ivy") {
		all = append(all, person{n, "she", "her", "her"})
	}
	for _, n := range strings.Fields("Tom Ben Max Sam Leo Jack Finn Theo") {
		all = append(all, person{n, "he", "his", "him"})
	}
	return all
}()

var (
	animals = strings.Fields("cat dog rabbit fox bear mouse duck frog owl hedgehog")
	places  = []string{"forest", "garden", "village", "river", "hill", "farm", "beach", "park", "lake", "market"}
	things  = []string{"ball", "kite", "hat", "book", "lamp", "drum", "boat", "key", "bell", "cup"}
	colours = []string{"red", "blue", "green", "yellow", "white", "black", "golden", "purple"}
	foods   = []string{"apples", "cake", "bread", "soup", "honey", "pears", "cheese", "pie"}
	weather = []string{"sunny", "rainy", "windy", "snowy", "cloudy", "warm", "cold"}
	sizes   = []string{"little", "big", "tiny", "young", "old"}
)

// Moods are the labels of the classification set.
var Moods = []string{"happy", "sad", "scary"}

// plot is a story with its mood: an opening, a middle and an end, each a template.
type plot struct {
	mood  string
	parts []string
}

var plots = []plot{
	{"happy", []string{
		"[Once upon a time|One day], {hero} found {a thing} [near|by] the {place}. It was {colour} and [very pretty|shiny].",
		"{Name} [wanted to|wished to] keep it, but {he} [thought|knew] that someone had lost it. {He} asked {friend} the {animal}. \"Is this your {thing}?\" {he} [asked|said].",
		"\"Yes! That is my {thing}! Thank you, {name}!\" [said|cried] {friend}. They [laughed and played|danced] until the sun went down. {Name} was [so happy|very happy] that {he} had helped a friend.",
	}},
	{"happy", []string{
		"It was a {weather} day and {hero} was [bored|all alone]. {He} walked to the {place} to look for a friend.",
		"There {he} met {friend} the {animal}, who had {a thing}. \"Do you want to play with me?\" asked {friend}. \"Yes, I do!\" said {name}.",
		"They played with the {colour} {thing} all day. Then they [shared|ate] some {food}. \"You are my best friend,\" said {name} with a big smile.",
	}},
	{"happy", []string{
		"{Hero} wanted to make some {food} for {friend} the {animal}. It was {friend}'s birthday.",
		"{He} went to the {place} and [looked|searched] for what {he} needed. {He} worked hard all day.",
		"When {friend} came, {he} saw the {food} and [clapped|jumped] with joy. \"This is the best birthday!\" {he2} said. Everyone sang and was happy.",
	}},
	{"happy", []string{
		"There was {hero} who lived by the {place}. {He} could not swim, and that made {him} [shy|quiet].",
		"Every day {friend} the {animal} [helped|taught] {him}. \"Try again, {name}. You can do it!\" said {friend}.",
		"One {weather} morning {name} [swam across the water|did it all alone]. {He} was proud and happy. \"I did it!\" {he} cried.",
	}},
	{"sad", []string{
		"{Hero} had {a thing}. It was {colour} and {he} loved it very much.",
		"One {weather} day {he} took it to the {place}. [The wind was strong|{He} fell down], and the {thing} [broke|was gone]. {Name} looked and looked, but {he} could not find a way to mend it.",
		"{Name} sat down and cried. {Friend} the {animal} sat next to {him} and said, \"I am sorry.\" {Name} was sad all day long.",
	}},
	{"sad", []string{
		"{Hero} had a good friend, {friend} the {animal}. They [played|walked] together near the {place} every day.",
		"But one day {friend} had to move far away. \"I will miss you, {name},\" said {friend}. {Name} did not know what to say.",
		"{He} waved until {friend} was gone. The {place} was [empty|quiet] now. {Name} went home alone and cried.",
	}},
	{"sad", []string{
		"It was {name}'s birthday, but it was a {weather} day and nobody came. {Name} was {size} and all alone.",
		"{He} had made {food} for {friend} the {animal}. {He} waited and waited by the {place}.",
		"When it was dark, the {food} was cold. {Name} put it away and went to bed. A tear fell on {his} pillow. {He} was very sad.",
	}},
	{"scary", []string{
		"One dark night {hero} walked [through|to] the {place}. The moon was [gone|behind the clouds].",
		"{He} heard a strange [sound|noise]. \"Who is there?\" {he} asked. Nobody answered. Two {colour} eyes looked at {him} from the dark.",
		"{Name} was so afraid that {he} [ran|ran and ran]. Something ran after {him}! {He} shut the door and hid under the bed. The eyes were at the window all night.",
	}},
	{"scary", []string{
		"There was an old house near the {place}. Everyone said that a monster lived there. {Hero} was [curious|brave] and went in.",
		"It was cold and dark. {A thing} moved, but nobody was there. Then the door shut behind {him}! \"Help!\" cried {name}.",
		"A deep voice said, \"Who is in my house?\" {Name} shook with fear. {He} jumped out of the window and never went back.",
	}},
	{"scary", []string{
		"A big storm came to the {place}. {Hero} was alone at home. The wind [screamed|cried] and the lamp went out.",
		"Then there was a knock at the door. Knock, knock, knock. {Name} did not open. {He} was too afraid to move.",
		"The knock came again, now at the window. A {colour} hand touched the glass. {Name} hid under the table and [shook|did not breathe] until morning.",
	}},
	{"happy", []string{
		"{Hero} saw {a thing} in a [tree|high tree] by the {place}. \"How can I get it?\" {he} asked.",
		"{He} tried to jump, but {he} was too small. Then {friend} the {animal} came by. \"Stand on my back,\" said {friend}.",
		"Together they got the {colour} {thing}. \"We are a good team!\" said {name}. They went home and ate {food}.",
	}},
	{"sad", []string{
		"{Hero} told {friend} the {animal} a lie. {He} said, \"I did not take your {thing}.\" But {he} had it in {his} bag.",
		"{Friend} looked for the {colour} {thing} near the {place} all day and [grew tired|was tired]. {Name} felt bad inside.",
		"When {he} gave it back, {friend} did not want to play any more. {Name} was alone and sad. {He} wished {he} had told the truth.",
	}},
}

type story struct{ text, mood string }

// story writes an English story of three parts, of any mood.
func (w *writer) story() story { return w.storyOf(pick(w, plots)) }

func (w *writer) storyOf(p plot) story {
	i, j := w.IntN(len(people)), w.IntN(len(people)-1)
	if j >= i {
		j++
	}
	hero, friend := people[i], people[j]
	size, thing := pick(w, sizes), pick(w, things)
	who := []string{"girl", "boy"}[map[string]int{"she": 0, "he": 1}[hero.he]]
	if w.IntN(2) == 0 {
		who = pick(w, animals)
	}
	slots := map[string]string{
		"hero": withArticle(size+" "+who) + " named " + hero.name, "name": hero.name, "he": hero.he, "his": hero.his, "him": hero.him,
		"friend": friend.name, "he2": friend.he, "animal": pick(w, animals), "thing": thing, "place": pick(w, places),
		"a thing": withArticle(thing), "colour": pick(w, colours), "food": pick(w, foods), "weather": pick(w, weather), "size": size,
	}
	parts := make([]string, len(p.parts))
	for k, t := range p.parts {
		parts[k] = w.expand(t, slots)
	}
	return story{strings.Join(parts, " "), p.mood}
}

// Question tasks: pairs that the built-in model has seen.
var (
	opposites = map[string]string{
		"big": "small", "hot": "cold", "happy": "sad", "old": "young", "day": "night", "up": "down", "fast": "slow", "dark": "light",
		"good": "bad", "open": "shut", "near": "far", "full": "empty",
	}
	sounds = map[string]string{"cat": "meow", "dog": "woof", "duck": "quack", "frog": "croak", "owl": "hoot", "mouse": "squeak", "bear": "growl"}
)

// ask is the prompt of a question. The answer follows it directly.
func ask(question string) string { return "Question: " + question + "\nAnswer:" }

// task is a question that the built-in model learns to answer.
func (w *writer) task() (prompt, answer string) {
	switch w.IntN(3) {
	case 0:
		word := pick(w, slices.Sorted(maps.Keys(opposites)))
		return ask("What is the opposite of " + word + "?"), " " + opposites[word]
	case 1:
		animal := pick(w, slices.Sorted(maps.Keys(sounds)))
		return ask("What does the " + animal + " say?"), " " + sounds[animal]
	}
	thing, colour := pick(w, things), pick(w, colours)
	p := pick(w, people)
	return ask(p.name + " has " + withArticle(colour+" "+thing) + ". What colour is the " + thing + "?"), " " + colour
}
