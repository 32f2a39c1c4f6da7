package peft

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of an expression that is matched by backtracking.
const (
	maxNesting = 100
	maxRepeats = 1000
)

// exprParser reads the expressions of Python's re: groups, alternatives, repetitions, classes, look-around and back references.
// Flags and possessive repetitions are refused.
type exprParser struct {
	rest   string
	groups int
	names  map[string]int
	depth  int
}

// parseBacktracking reads an expression and counts its groups.
func parseBacktracking(expr string) (n node, groups int, err error) {
	p := &exprParser{rest: expr, names: map[string]int{}}
	n, err = p.alternatives()
	if err == nil && p.rest != "" {
		err = fmt.Errorf("%q is left over", p.rest)
	}
	return n, p.groups, err
}

// take removes a prefix of the rest, and reports whether it was there.
func (p *exprParser) take(prefix string) bool {
	rest, ok := strings.CutPrefix(p.rest, prefix)
	p.rest = rest
	return ok
}

// alternatives reads parts between |, to the end or a closing parenthesis.
func (p *exprParser) alternatives() (node, error) {
	if p.depth++; p.depth > maxNesting {
		return nil, fmt.Errorf("groups are nested more than %d deep", maxNesting)
	}
	defer func() { p.depth-- }()
	var all []node
	for {
		var nodes []node
		for p.rest != "" && p.rest[0] != '|' && p.rest[0] != ')' {
			n, err := p.atom()
			if err == nil {
				n, err = p.repetition(n)
			}
			if err != nil {
				return nil, err
			}
			nodes = append(nodes, n)
		}
		if all = append(all, sequence(nodes)); !p.take("|") {
			return either(all), nil
		}
	}
}

// counted is a repetition in braces.
var counted = regexp.MustCompile(`^\{([0-9]{0,4})(,?)([0-9]{0,4})\}`)

// repetition reads what may follow an atom: *, +, ? or a number in braces, and a ? that makes it lazy.
func (p *exprParser) repetition(n node) (node, error) {
	least, most := 0, math.MaxInt
	m := counted.FindStringSubmatch(p.rest)
	switch {
	case p.take("*"):
	case p.take("+"):
		least = 1
	case p.take("?"):
		most = 1
	case m != nil && m[1]+m[3] != "":
		p.rest = p.rest[len(m[0]):]
		least, _ = strconv.Atoi(m[1])
		if m[2] == "" {
			most = least
		} else if m[3] != "" {
			most, _ = strconv.Atoi(m[3])
		}
		if least > maxRepeats || most < least {
			return nil, fmt.Errorf("%s repeats from %d to %d times, %d is the most", m[0], least, most, maxRepeats)
		}
	default:
		return n, nil
	}
	lazy := p.take("?")
	if p.rest != "" && strings.ContainsRune("*+?", rune(p.rest[0])) {
		return nil, fmt.Errorf("%q repeats a repetition", p.rest[:1])
	}
	return repeat(n, least, most, lazy), nil
}

// atom reads one character, class, group or condition.
func (p *exprParser) atom() (node, error) {
	switch {
	case p.take("("):
		return p.group()
	case p.rest[0] == '[':
		return p.class()
	case p.take(`\`):
		return p.escape()
	case p.take("."):
		return one(func(r rune) bool { return r != '\n' }), nil
	case p.take("^"):
		return at(func(_ *search, i int) bool { return i == 0 }), nil
	case p.take("$"):
		return at(func(s *search, i int) bool { return i == len(s.text) }), nil
	case strings.ContainsRune("*+?", rune(p.rest[0])):
		return nil, fmt.Errorf("%q repeats nothing", p.rest[:1])
	}
	return p.literal(), nil
}

// named begins a group with a name, or refers to one.
var named = regexp.MustCompile(`^\?P([<=])([A-Za-z_]\w*)[>)]`)

// group reads a group after its opening parenthesis.
func (p *exprParser) group() (node, error) {
	if m := named.FindStringSubmatch(p.rest); m != nil && m[1] == "=" {
		p.rest = p.rest[len(m[0]):]
		g, ok := p.names[m[2]]
		if !ok {
			return nil, fmt.Errorf("there is no group %s", m[2])
		}
		return again(g), nil
	} else if m != nil {
		p.rest = p.rest[len(m[0]):]
		p.groups++
		p.names[m[2]] = p.groups
		return p.closed(func(n node, g int) node { return capture(n, g) }, p.groups)
	}
	plain := func(n node, _ int) node { return n }
	switch {
	case p.take("?:"):
		return p.closed(plain, 0)
	case p.take("?="):
		return p.closed(func(n node, _ int) node { return ahead(n, true) }, 0)
	case p.take("?!"):
		return p.closed(func(n node, _ int) node { return ahead(n, false) }, 0)
	case p.take("?<="):
		return p.closed(func(n node, _ int) node { return behind(n, true) }, 0)
	case p.take("?<!"):
		return p.closed(func(n node, _ int) node { return behind(n, false) }, 0)
	case strings.HasPrefix(p.rest, "?"):
		return nil, fmt.Errorf("groups that begin with (%.3s are not read", p.rest)
	}
	p.groups++
	return p.closed(func(n node, g int) node { return capture(n, g) }, p.groups)
}

// closed reads the inside of a group and its closing parenthesis.
func (p *exprParser) closed(wrap func(n node, group int) node, group int) (node, error) {
	n, err := p.alternatives()
	if err != nil {
		return nil, err
	}
	if !p.take(")") {
		return nil, fmt.Errorf("a group is not closed")
	}
	return wrap(n, group), nil
}

// class reads a class in brackets. Go's regexp reads what is inside.
func (p *exprParser) class() (node, error) {
	end := 1
	if strings.HasPrefix(p.rest[end:], "^") {
		end++
	}
	if strings.HasPrefix(p.rest[end:], "]") {
		end++
	}
	for ; end < len(p.rest) && p.rest[end] != ']'; end++ {
		if p.rest[end] == '\\' {
			end++
		}
	}
	if end >= len(p.rest) {
		return nil, fmt.Errorf("the class %s is not closed", p.rest)
	}
	text := p.rest[:end+1]
	p.rest = p.rest[end+1:]
	return oneOf(text)
}

// oneOf matches a character of a class of Go's regexp.
func oneOf(class string) (node, error) {
	re, err := regexp.Compile("^(?:" + class + ")$")
	if err != nil {
		return nil, err
	}
	return one(func(r rune) bool { return re.MatchString(string(r)) }), nil
}

// escape reads what follows a backslash.
func (p *exprParser) escape() (node, error) {
	if p.rest == "" {
		return nil, fmt.Errorf(`the expression ends with \`)
	}
	c := p.rest[0]
	switch {
	case strings.IndexByte("dDwWsSntrfv", c) >= 0:
		p.rest = p.rest[1:]
		return oneOf(`\` + string(rune(c)))
	case c == 'A' || c == 'Z':
		p.rest = p.rest[1:]
		return at(func(s *search, i int) bool { return c == 'A' && i == 0 || c == 'Z' && i == len(s.text) }), nil
	case c == 'b' || c == 'B':
		p.rest = p.rest[1:]
		return at(func(s *search, i int) bool { return s.boundary(i) == (c == 'b') }), nil
	case c >= '1' && c <= '9':
		digits := p.rest[:len(p.rest)-len(strings.TrimLeft(p.rest, "0123456789"))]
		p.rest = p.rest[len(digits):]
		g, err := strconv.Atoi(digits)
		if err != nil || g > p.groups {
			return nil, fmt.Errorf("there is no group %s", digits)
		}
		return again(g), nil
	case c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
		return nil, fmt.Errorf(`\%c is not read`, c)
	}
	return p.literal(), nil
}

// literal reads a character that stands for itself.
func (p *exprParser) literal() node {
	want, size := utf8.DecodeRuneInString(p.rest)
	p.rest = p.rest[size:]
	return one(func(r rune) bool { return r == want })
}

// boundary reports whether exactly one of the characters around i is part of a word.
func (s *search) boundary(i int) bool {
	word := func(k int) bool {
		if k < 0 || k >= len(s.text) {
			return false
		}
		r := s.text[k]
		return r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
	}
	return word(i-1) != word(i)
}
