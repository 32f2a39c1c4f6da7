package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Rule is one thing that must hold of a configuration.
type Rule struct {
	ok                  bool
	path, message, next string
	kind                string // as of an Error
	about               map[string]any
}

// Must is the rule ok. Where it is broken, message follows the path of the key, and next says what to do about it.
func Must(ok bool, path, message, next string) Rule {
	return Rule{ok: ok, path: path, message: message, next: next}
}

// As gives r a kind, by which the page finds its own words for what is wrong, and what fills them in as pairs of name
// and value.
func (r Rule) As(kind string, pairs ...any) Rule {
	r.kind = kind
	if !r.ok {
		r.about = map[string]any{}
		for i := 0; i < len(pairs); i += 2 {
			r.about[pairs[i].(string)] = pairs[i+1]
		}
	}
	return r
}

func firstBroken(rules []Rule) *Error {
	for _, r := range rules {
		if !r.ok {
			return &Error{Path: r.path, Message: r.message, Next: r.next, Kind: r.kind, About: r.about}
		}
	}
	return nil
}

// Within is the rule least ≤ v ≤ most.
func Within[T int | float64](path string, v, least, most T) Rule {
	r := Must(v >= least && v <= most, path, fmt.Sprintf("is %v, wants %v to %v", v, least, most), "")
	if v < least && float64(most) >= maxSteps {
		return r.As("at_least", "value", v, "least", least)
	}
	return r.As("range", "value", v, "least", least, "most", most)
}

// Below is the rule 0 ≤ v < 1.
func Below(path string, v float64) Rule {
	return Must(v >= 0 && v < 1, path, fmt.Sprintf("is %v, wants 0 or more and less than 1", v), "").As("fraction", "value", v)
}

// OneOf is the rule that v is among ready. A word of later is known, but not available in this version.
func OneOf(path, v string, ready []string, later ...string) Rule {
	ok := slices.Contains(ready, v)
	if slices.Contains(later, v) {
		return Must(ok, path, unavailable(strconv.Quote(v)), "use "+quoted(ready)).As("unavailable", "value", v)
	}
	return Must(ok, path, NotOneOf(v, slices.Concat(ready, later)), "").As("choice", "value", clip(v), "choices", ready)
}

func unavailable(what string) string { return what + " is not available in this version" }

func quoted(words []string) string {
	s := ""
	for i, w := range words {
		if i > 0 {
			s += " or "
		}
		s += strconv.Quote(w)
	}
	return s
}

// NotOneOf is the message for a word that is not among those allowed.
func NotOneOf(got string, allowed []string) string {
	return fmt.Sprintf("%q is not one of %s", clip(got), strings.Join(allowed, ", "))
}

// Unavailable is the error of an UnmarshalJSON for a word that this version does not take; next says which it takes.
func Unavailable(word, next string) *Error {
	return &Error{Message: unavailable(strconv.Quote(clip(word))), Next: next}
}
