package peft

import (
	"fmt"
	"regexp"
	"time"

	"github.com/dlclark/regexp2"
)

// A matcher tells whether a regular expression fits the whole of a module's path.
type matcher interface {
	MatchString(path string) bool
}

// newMatcher compiles an expression of Python's re, as PEFT has them, behind a prefix of its own. Go's regexp does most of
// them; those with look-ahead, look-behind or back references are matched by backtracking.
func newMatcher(key, prefix, expr string) (matcher, error) {
	whole := "^" + prefix + "(?:" + expr + ")$"
	re, err := regexp.Compile(whole)
	if err == nil {
		return re, nil
	}
	back, other := regexp2.Compile(whole, regexp2.None)
	if other != nil {
		return nil, fmt.Errorf("%s: %q is not a regular expression that this program reads: %w", key, expr, err)
	}
	back.MatchTimeout = matchTimeout
	return backtracking{key, back}, nil
}

// matchTimeout ends a search that backtracks without end.
const matchTimeout = time.Second

type backtracking struct {
	key string
	re  *regexp2.Regexp
}

// overdue is what MatchString panics with where a search did not end in time; New returns it.
type overdue struct{ error }

// MatchString implements matcher.
func (b backtracking) MatchString(path string) bool {
	ok, err := b.re.MatchString(path)
	if err != nil {
		panic(overdue{fmt.Errorf("%s: %q takes more than %v on %q: write it without nested repetitions", b.key, b.re, matchTimeout, path)})
	}
	return ok
}
