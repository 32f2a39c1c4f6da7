package jinja

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"llamatab/engine/jinja/python"
)

// parser makes statements and expressions of tokens.
type parser struct {
	tokens []token
	at     int
	nested int // expressions and tags around the place
	loops  int // loops around the place
	// varargs and kwargs: the macro at hand names the variable.
	varargs, kwargs bool
}

func (p *parser) peek() token { return p.tokens[p.at] }

func (p *parser) next() token {
	t := p.tokens[p.at]
	if t.kind != endOfSource {
		p.at++
	}
	return t
}

// fail ends parsing at the token at hand.
func (p *parser) fail(text string, args ...any) {
	panic(&python.Error{Line: p.peek().line, Text: fmt.Sprintf(text, args...)})
}

func (p *parser) is(kind tokenKind, text string) bool {
	t := p.peek()
	return t.kind == kind && t.text == text
}

// skip takes a token if it is the given one.
func (p *parser) skip(kind tokenKind, text string) bool {
	if p.is(kind, text) {
		p.at++
		return true
	}
	return false
}

func (p *parser) skipOperator(text string) bool { return p.skip(operator, text) }

func (p *parser) expect(kind tokenKind, text string) token {
	if t := p.peek(); t.kind != kind || text != "" && t.text != text {
		want := text
		if want == "" {
			want = map[tokenKind]string{nameToken: "a name", blockEnd: "%}", variableEnd: "}}"}[kind]
		}
		p.fail("%s stands where %s is expected", t.shown(), want)
	}
	return p.next()
}

// shown is the token for messages.
func (t token) shown() string {
	switch t.kind {
	case endOfSource:
		return "the end of the template"
	case blockEnd:
		return "%}"
	case variableEnd:
		return "}}"
	}
	return strconv.Quote(t.text)
}

// enter counts a level of nesting; leave ends it.
func (p *parser) enter() {
	if p.nested++; p.nested > maxNested {
		p.fail("the template nests more than %d levels deep", maxNested)
	}
}

func (p *parser) leave() { p.nested-- }

// expression parses what may hold an inline if.
func (p *parser) expression() expression {
	p.enter()
	defer p.leave()
	e := p.or()
	for p.skip(nameToken, "if") {
		c := &conditional{then: e, condition: p.or()}
		if p.skip(nameToken, "else") {
			c.otherwise = p.expression()
		}
		e = c
	}
	return e
}

func (p *parser) or() expression {
	e := p.and()
	for p.skip(nameToken, "or") {
		e = &logical{or: true, left: e, right: p.and()}
	}
	return e
}

func (p *parser) and() expression {
	e := p.not()
	for p.skip(nameToken, "and") {
		e = &logical{left: e, right: p.not()}
	}
	return e
}

func (p *parser) not() expression {
	if p.is(nameToken, "not") {
		p.enter()
		defer p.leave()
		p.next()
		return &negation{p.not()}
	}
	return p.comparison()
}

func (p *parser) comparison() expression {
	first := p.sum()
	c := &comparison{operands: []expression{first}, line: p.peek().line}
	for {
		t := p.peek()
		switch {
		case t.kind == operator && slices.Contains([]string{"==", "!=", "<", "<=", ">", ">="}, t.text):
			p.next()
		case p.is(nameToken, "in"):
			p.next()
		case p.is(nameToken, "not") && p.tokens[p.at+1].kind == nameToken && p.tokens[p.at+1].text == "in":
			p.at += 2
			t.text = "not in"
		case len(c.operators) == 0:
			return first
		default:
			return c
		}
		c.operators = append(c.operators, t.text)
		c.operands = append(c.operands, p.sum())
	}
}

// chain parses operands with left-associative operators between them. A long chain nests as deeply as it has operators,
// since its first operand is evaluated innermost.
func (p *parser) chain(operand func() expression, operators ...string) expression {
	e := operand()
	nested := p.nested
	defer func() { p.nested = nested }()
	for t := p.peek(); t.kind == operator && slices.Contains(operators, t.text); t = p.peek() {
		p.next()
		p.enter()
		e = &arithmetic{t.text, e, operand(), t.line}
	}
	return e
}

func (p *parser) sum() expression { return p.chain(p.concatenation, "+", "-") }

func (p *parser) concatenation() expression {
	e := p.product()
	if !p.is(operator, "~") {
		return e
	}
	c := &concatenation{[]expression{e}}
	for p.skipOperator("~") {
		c.parts = append(c.parts, p.product())
	}
	return c
}

func (p *parser) product() expression { return p.chain(p.power, "*", "/", "//", "%") }

func (p *parser) power() expression {
	return p.chain(func() expression { return p.signed(true) }, "**")
}

// signed parses a value with its sign and, where filters is true, what follows of filters and tests.
func (p *parser) signed(filters bool) expression {
	var e expression
	if t := p.peek(); t.kind == operator && (t.text == "-" || t.text == "+") {
		p.enter()
		defer p.leave()
		p.next()
		e = &unary{t.text, p.signed(false), t.line}
	} else {
		e = p.primary()
	}
	e = p.postfix(e)
	if filters {
		e = p.filters(e)
	}
	return e
}

func (p *parser) primary() expression {
	p.enter()
	defer p.leave()
	switch t := p.next(); t.kind {
	case nameToken:
		switch t.text {
		case "true", "True":
			return &constant{true}
		case "false", "False":
			return &constant{false}
		case "none", "None":
			return &constant{nil}
		case "varargs":
			p.varargs = true
		case "kwargs":
			p.kwargs = true
		}
		return &name{t.text}
	case stringToken:
		s := t.text
		for p.peek().kind == stringToken {
			s += p.next().text
		}
		return &constant{s}
	case integerToken:
		n, err := strconv.ParseInt(t.text, 0, 64)
		if strings.TrimLeft(t.text, "0") != t.text { // Jinja reads 007 as 7
			n, err = strconv.ParseInt(t.text, prefixBase(t.text), 64)
		}
		if err != nil {
			p.fail("the number %s is too large", t.text)
		}
		return &constant{n}
	case floatToken:
		f, err := strconv.ParseFloat(t.text, 64)
		if err != nil {
			p.fail("the number %s is too large", t.text)
		}
		return &constant{f}
	case operator:
		switch t.text {
		case "(":
			e := p.tuple(true, p.expression)
			p.expect(operator, ")")
			return e
		case "[":
			return &sequence{items: p.list("]")}
		case "{":
			return p.mapping()
		}
	}
	p.at--
	p.fail("%s stands where a value is expected", p.peek().shown())
	return nil
}

// prefixBase is the base for strconv.ParseInt: 0 where a prefix says it, else 10.
func prefixBase(digits string) int {
	if len(digits) > 1 && strings.IndexByte("xXoObB", digits[1]) >= 0 {
		return 0
	}
	return 10
}

// list parses values up to and with a closing bracket; a comma may stand before it.
func (p *parser) list(closing string) (items []expression) {
	for !p.skipOperator(closing) {
		if len(items) > 0 {
			p.expect(operator, ",")
			if p.skipOperator(closing) {
				break
			}
		}
		items = append(items, p.expression())
	}
	return items
}

func (p *parser) mapping() expression {
	m := &mapping{}
	for !p.skipOperator("}") {
		if len(m.keys) > 0 {
			p.expect(operator, ",")
			if p.skipOperator("}") {
				break
			}
		}
		m.keys = append(m.keys, p.expression())
		p.expect(operator, ":")
		m.values = append(m.values, p.expression())
	}
	return m
}

// tuple parses one value, or several with commas between as a tuple. empty: there may be none.
func (p *parser) tuple(empty bool, value func() expression) expression {
	var items []expression
	comma := false
	for !p.endsTuple() {
		items = append(items, value())
		if comma = p.skipOperator(","); !comma {
			break
		}
	}
	if len(items) == 1 && !comma {
		return items[0]
	}
	if len(items) == 0 && !empty {
		p.fail("%s stands where a value is expected", p.peek().shown())
	}
	return &sequence{items, true}
}

func (p *parser) endsTuple() bool {
	t := p.peek()
	return t.kind == blockEnd || t.kind == variableEnd || t.kind == endOfSource || p.is(operator, ")") || p.is(operator, "=") || p.is(nameToken, "in")
}

// postfix parses attributes, indices and calls behind a value.
func (p *parser) postfix(e expression) expression {
	nested := p.nested
	defer func() { p.nested = nested }()
	for {
		t := p.peek()
		switch {
		case p.skipOperator("."):
			if attr := p.next(); attr.kind == integerToken {
				n, _ := strconv.ParseInt(attr.text, 10, 64)
				e = &index{e, &constant{n}, t.line}
			} else if p.at--; true {
				e = &attribute{e, p.expect(nameToken, "").text, t.line}
			}
		case p.skipOperator("["):
			e = p.subscript(e, t.line)
		case p.skipOperator("("):
			e = &call{e, p.arguments(), t.line}
		default:
			return e
		}
		p.enter()
	}
}

// subscript parses what stands in square brackets behind a value.
func (p *parser) subscript(e expression, line int) expression {
	s := &slice{of: e, line: line}
	if !p.is(operator, ":") {
		s.from = p.expression()
		if p.skipOperator(",") {
			rest := p.list("]")
			return &index{e, &sequence{append([]expression{s.from}, rest...), true}, line}
		}
		if p.skipOperator("]") {
			return &index{e, s.from, line}
		}
	}
	p.expect(operator, ":")
	bound := func() expression {
		if p.is(operator, ":") || p.is(operator, "]") {
			return nil
		}
		return p.expression()
	}
	s.to = bound()
	if p.skipOperator(":") {
		s.increment = bound()
	}
	p.expect(operator, "]")
	return s
}

// arguments parses the arguments of a call whose opening bracket has been read.
func (p *parser) arguments() (a arguments) {
	for first := true; !p.skipOperator(")"); first = false {
		if !first {
			p.expect(operator, ",")
			if p.skipOperator(")") {
				break
			}
		}
		switch {
		case p.skipOperator("**"):
			a.named = p.expression()
		case p.skipOperator("*"):
			a.spread = p.expression()
		case p.peek().kind == nameToken && p.tokens[p.at+1].kind == operator && p.tokens[p.at+1].text == "=":
			a.names = append(a.names, p.next().text)
			p.next()
			a.values = append(a.values, p.expression())
		case len(a.names) > 0:
			p.fail("an argument without a name stands behind one with a name")
		default:
			a.values = append(a.values, p.expression())
		}
	}
	return a
}

// dotted parses a name with dots in it, as filters and tests of extensions have.
func (p *parser) dotted() string {
	s := p.expect(nameToken, "").text
	for p.skipOperator(".") {
		s += "." + p.expect(nameToken, "").text
	}
	return s
}

// filters parses filters, tests and calls behind a value.
func (p *parser) filters(e expression) expression {
	nested := p.nested
	defer func() { p.nested = nested }()
	for {
		switch t := p.peek(); {
		case p.skipOperator("|"):
			e = p.filter(e, t.line)
		case p.skip(nameToken, "is"):
			e = p.test(e, t.line)
		case p.skipOperator("("):
			e = &call{e, p.arguments(), t.line}
		default:
			return e
		}
		p.enter()
	}
}

func (p *parser) filter(e expression, line int) *filter {
	f := &filter{of: e, name: p.dotted(), line: line}
	if filters[f.name] == nil {
		p.fail("there is no filter %q", f.name)
	}
	if p.skipOperator("(") {
		f.arguments = p.arguments()
	}
	return f
}

func (p *parser) test(e expression, line int) expression {
	negated := p.skip(nameToken, "not")
	t := &test{of: e, name: p.dotted(), line: line}
	if tests[t.name] == nil {
		p.fail("there is no test %q", t.name)
	}
	switch next := p.peek(); {
	case p.skipOperator("("):
		t.arguments = p.arguments()
	case next.kind == nameToken && !slices.Contains([]string{"else", "or", "and", "if", "in", "is", "not", "recursive"}, next.text),
		next.kind == stringToken, next.kind == integerToken, next.kind == floatToken, p.is(operator, "["), p.is(operator, "{"):
		t.values = []expression{p.postfix(p.primary())}
	}
	if negated {
		return &negation{t}
	}
	return t
}
