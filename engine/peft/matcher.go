package peft

import (
	"fmt"
	"regexp"
	"slices"
)

// A matcher tells whether a regular expression fits the whole of a module's path.
type matcher interface {
	MatchString(path string) bool
}

// newMatcher compiles an expression of Python's re, as PEFT has them, behind a prefix of its own. Go's regexp does most of
// them. Those with look-ahead, look-behind or back references are matched by backtracking.
func newMatcher(key, prefix, expr string) (matcher, error) {
	re, err := regexp.Compile("^" + prefix + "(?:" + expr + ")$")
	if err == nil {
		return re, nil
	}
	n, groups, other := parseBacktracking(prefix + "(?:" + expr + ")")
	if other != nil {
		return nil, fmt.Errorf("%s: %q is not a regular expression that this program reads: %w", key, expr, other)
	}
	return backtracking{key, expr, n, groups}, nil
}

// maxSteps ends a search that backtracks too often: far more than a useful expression needs on a path.
const maxSteps = 2_000_000

// backtracking matches by trying all ways in turn, as Python does.
type backtracking struct {
	key, expr string
	whole     node
	groups    int
}

// overdue is what MatchString panics with where a search does not end in time. New returns it.
type overdue struct{ error }

// MatchString implements matcher.
func (b backtracking) MatchString(path string) bool {
	s := &search{text: []rune(path), groups: make([][2]int, b.groups+1)}
	for i := range s.groups {
		s.groups[i] = [2]int{-1, -1}
	}
	s.overdue = func() {
		panic(overdue{fmt.Errorf("%s: %q takes more than %d steps on %q: write it without nested repetitions", b.key, b.expr, maxSteps, path)})
	}
	return b.whole(s, 0, func(end int) bool { return end == len(s.text) })
}

// search is the state of one match.
type search struct {
	text    []rune
	groups  [][2]int // where each group begins and ends, -1 before it has matched
	steps   int
	overdue func()
}

// node is a part of an expression. It calls then with each place at which a match that begins at i can end, until then is
// content, and reports whether it was.
type node func(s *search, i int, then func(end int) bool) bool

// count counts a step of the search.
func (s *search) count() {
	if s.steps++; s.steps > maxSteps {
		s.overdue()
	}
}

// one matches a single character.
func one(fits func(rune) bool) node {
	return func(s *search, i int, then func(int) bool) bool {
		s.count()
		return i < len(s.text) && fits(s.text[i]) && then(i+1)
	}
}

// at matches the empty text where a condition holds.
func at(holds func(s *search, i int) bool) node {
	return func(s *search, i int, then func(int) bool) bool {
		s.count()
		return holds(s, i) && then(i)
	}
}

// sequence matches nodes one after the other.
func sequence(nodes []node) node {
	var from func(s *search, k, i int, then func(int) bool) bool
	from = func(s *search, k, i int, then func(int) bool) bool {
		if k == len(nodes) {
			return then(i)
		}
		return nodes[k](s, i, func(end int) bool { return from(s, k+1, end, then) })
	}
	return func(s *search, i int, then func(int) bool) bool { return from(s, 0, i, then) }
}

// either matches the first node that leads to a match.
func either(nodes []node) node {
	return func(s *search, i int, then func(int) bool) bool {
		for _, n := range nodes {
			if n(s, i, then) {
				return true
			}
		}
		return false
	}
}

// capture remembers what a group has matched.
func capture(n node, group int) node {
	return func(s *search, i int, then func(int) bool) bool {
		return n(s, i, func(end int) bool {
			before := s.groups[group]
			s.groups[group] = [2]int{i, end}
			if then(end) {
				return true
			}
			s.groups[group] = before
			return false
		})
	}
}

// again matches the text of a group once more.
func again(group int) node {
	return func(s *search, i int, then func(int) bool) bool {
		s.count()
		g := s.groups[group]
		if g[0] < 0 || i+g[1]-g[0] > len(s.text) {
			return false
		}
		for k := range g[1] - g[0] {
			if s.text[g[0]+k] != s.text[i+k] {
				return false
			}
		}
		return then(i + g[1] - g[0])
	}
}

// ahead matches the empty text where n matches from there on, or does not.
func ahead(n node, want bool) node {
	return at(func(s *search, i int) bool {
		before := slices.Clone(s.groups)
		found := n(s, i, func(int) bool { return true })
		if !want {
			s.groups = before // groups inside a negative look-ahead match nothing
		}
		return found == want
	})
}

// behind matches the empty text where a match of n ends there, or none does.
func behind(n node, want bool) node {
	return at(func(s *search, i int) bool {
		for from := i; from >= 0; from-- {
			if n(s, from, func(end int) bool { return end == i }) {
				return want
			}
		}
		return !want
	})
}

// repeat matches n between least and most times, as often as possible first, or as seldom as possible where it is lazy.
func repeat(n node, least, most int, lazy bool) node {
	var more func(s *search, done, i int, then func(int) bool) bool
	more = func(s *search, done, i int, then func(int) bool) bool {
		s.count()
		if lazy && done >= least && then(i) {
			return true
		}
		if done < most && n(s, i, func(end int) bool {
			if end == i && done >= least {
				return then(end) // an empty match is not repeated
			}
			return more(s, done+1, end, then)
		}) {
			return true
		}
		return !lazy && done >= least && then(i)
	}
	return func(s *search, i int, then func(int) bool) bool { return more(s, 0, i, then) }
}
