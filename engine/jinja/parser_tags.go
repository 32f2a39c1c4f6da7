package jinja

import (
	"slices"

	"llamatab/engine/jinja/python"
)

// Template is a parsed template. It may be rendered by several goroutines at once.
type Template struct {
	body []statement
}

// Parse parses a template. Its error is an *Error.
func Parse(source string) (t *Template, err error) {
	defer func() {
		if p := recover(); p != nil {
			t, err = nil, python.Recovered(p, 0)
		}
	}()
	if len(source) > maxSource {
		python.Failf("the template has %d bytes, more than the limit of %d", len(source), maxSource)
	}
	p := &parser{tokens: scan(source)}
	t = &Template{p.body("")}
	return t, nil
}

// body parses up to a tag that ends it, of which it leaves the name to be read. With tag "" it parses the whole template.
func (p *parser) body(tag string, ends ...string) (all []statement) {
	p.enter()
	defer p.leave()
	for {
		switch t := p.next(); t.kind {
		case endOfSource:
			if tag != "" {
				p.fail("the tag {%% %s %%} has no end", tag)
			}
			return all
		case textToken:
			all = append(all, &text{t.text})
		case variableBegin:
			all = append(all, &output{p.tuple(false, p.expression), t.line})
			p.expect(variableEnd, "")
		default:
			if end := p.peek(); end.kind == nameToken && slices.Contains(ends, end.text) {
				return all
			}
			all = append(all, p.tag())
		}
	}
}

// until parses a body up to one end tag, with that tag.
func (p *parser) until(tag, end string) []statement {
	body := p.body(tag, end)
	p.next()
	p.expect(blockEnd, "")
	return body
}

// tag parses one tag whose opening has been read, with its body.
func (p *parser) tag() statement {
	t := p.expect(nameToken, "")
	switch t.text {
	case "if":
		return p.branches(t.line)
	case "for":
		return p.loop(t.line)
	case "set":
		return p.assignment(t.line)
	case "with":
		return p.with(t.line)
	case "macro":
		return p.macro()
	case "call":
		return p.callBlock(t.line)
	case "filter":
		return p.filterBlock(t.line)
	case "generation":
		p.expect(blockEnd, "")
		return &generation{p.until("generation", "endgeneration")}
	case "break", "continue":
		p.expect(blockEnd, "")
		if p.loops == 0 {
			p.fail("{%% %s %%} stands outside of a loop", t.text)
		}
		return &jump{map[string]flow{"break": toEnd, "continue": toNext}[t.text]}
	}
	p.at--
	p.fail("the tag {%% %s %%} is not available in chat templates", t.text)
	return nil
}

func (p *parser) branches(line int) statement {
	b := &branches{line: line}
	for {
		b.conditions = append(b.conditions, p.tuple(false, p.expression))
		p.expect(blockEnd, "")
		b.bodies = append(b.bodies, p.body("if", "elif", "else", "endif"))
		switch p.next().text {
		case "elif":
			continue
		case "else":
			p.expect(blockEnd, "")
			b.bodies = append(b.bodies, p.until("if", "endif"))
			return b
		}
		p.expect(blockEnd, "")
		return b
	}
}

func (p *parser) loop(line int) statement {
	l := &loop{line: line, targets: p.targets(false)}
	p.expect(nameToken, "in")
	l.over = p.tuple(false, p.or)
	if p.skip(nameToken, "if") {
		l.condition = p.expression()
	}
	l.recursive = p.skip(nameToken, "recursive")
	p.expect(blockEnd, "")
	p.loops++
	l.body = p.body("for", "else", "endfor")
	p.loops--
	if p.next().text == "else" {
		p.expect(blockEnd, "")
		l.otherwise = p.body("for", "endfor")
		p.next()
	}
	p.expect(blockEnd, "")
	return l
}

// targets parses what is assigned to; namespaces: an attribute of one may be.
func (p *parser) targets(namespaces bool) target {
	var all []target
	comma := false
	for {
		if p.skipOperator("(") {
			p.enter()
			t := p.targets(namespaces)
			p.leave()
			p.expect(operator, ")")
			if t.parts == nil {
				t = target{parts: []target{t}}
			}
			all = append(all, t)
		} else {
			t := target{name: p.expect(nameToken, "").text}
			if namespaces && p.skipOperator(".") {
				t.of, t.name = t.name, p.expect(nameToken, "").text
			}
			all = append(all, t)
		}
		if comma = p.skipOperator(","); !comma || p.is(nameToken, "in") || p.is(operator, "=") {
			break
		}
	}
	if len(all) == 1 && !comma {
		return all[0]
	}
	return target{parts: all}
}

func (p *parser) assignment(line int) statement {
	a := &assignment{line: line, targets: p.targets(true)}
	if p.skipOperator("=") {
		a.value = p.tuple(false, p.expression)
		p.expect(blockEnd, "")
		return a
	}
	for p.skipOperator("|") {
		a.filtered = append(a.filtered, p.filter(nil, line))
	}
	p.expect(blockEnd, "")
	a.body = p.until("set", "endset")
	return a
}

func (p *parser) with(line int) statement {
	w := &with{line: line}
	for p.peek().kind != blockEnd {
		if len(w.targets) > 0 {
			p.expect(operator, ",")
		}
		w.targets = append(w.targets, target{name: p.expect(nameToken, "").text})
		p.expect(operator, "=")
		w.values = append(w.values, p.expression())
	}
	p.next()
	w.body = p.until("with", "endwith")
	return w
}

// macroBody parses parameters, if there are any, and the body up to an end tag.
func (p *parser) macroBody(m *macro, tag, end string) *macro {
	varargs, kwargs, loops := p.varargs, p.kwargs, p.loops
	p.varargs, p.kwargs, p.loops = false, false, 0
	p.expect(blockEnd, "")
	m.body = p.until(tag, end)
	m.usesVarargs, m.usesKwargs = p.varargs, p.kwargs
	p.varargs, p.kwargs, p.loops = varargs, kwargs, loops
	return m
}

// parameters parses the parameters of a macro, behind the opening bracket.
func (p *parser) parameters(m *macro) {
	for !p.skipOperator(")") {
		if len(m.names) > 0 {
			p.expect(operator, ",")
			if p.skipOperator(")") {
				return
			}
		}
		m.names = append(m.names, p.expect(nameToken, "").text)
		if p.skipOperator("=") {
			m.defaults = append(m.defaults, p.expression())
		} else if len(m.defaults) > 0 {
			p.fail("a parameter without a default stands behind one with a default")
		}
	}
}

func (p *parser) macro() statement {
	m := &macro{name: p.expect(nameToken, "").text}
	p.expect(operator, "(")
	p.parameters(m)
	return p.macroBody(m, "macro", "endmacro")
}

func (p *parser) callBlock(line int) statement {
	c := &callBlock{line: line, caller: &macro{name: "caller"}}
	if p.skipOperator("(") {
		p.parameters(c.caller)
	}
	called, ok := p.postfix(p.primary()).(*call)
	if !ok {
		p.fail("{%% call %%} wants a call")
	}
	c.call = called
	p.macroBody(c.caller, "call", "endcall")
	return c
}

func (p *parser) filterBlock(line int) statement {
	f := &filterBlock{line: line, filters: []*filter{p.filter(nil, line)}}
	for p.skipOperator("|") {
		f.filters = append(f.filters, p.filter(nil, line))
	}
	p.expect(blockEnd, "")
	f.body = p.until("filter", "endfilter")
	return f
}
