package jinja

import (
	"fmt"
	"strings"
	"time"

	"llamatab/engine/jinja/python"
)

// Options say what a template sees beside its variables.
type Options struct {
	// Now is the time that strftime_now formats. The zero time makes strftime_now an error, so that a template that wants
	// the date cannot make two runs differ without a word.
	Now time.Time
}

// Result is what a template rendered.
type Result struct {
	Text string
	// Generated are the bytes [from, to) of Text that stand between {% generation %} and {% endgeneration %}, in order.
	Generated [][2]int
}

// run is one rendering.
type run struct {
	python.Meter
	out       *strings.Builder
	captures  int // texts that are being put into variables around the place: what is written then has no place in the result
	generated [][2]int
	now       time.Time
	scope     *scope
	line      int // of the template, for errors: set just before whatever can fail
}

// scope holds the variables of a block.
type scope struct {
	variables map[string]any
	outer     *scope
}

func (s *scope) get(name string) (any, bool) {
	for ; s != nil; s = s.outer {
		if v, ok := s.variables[name]; ok {
			return v, true
		}
	}
	return nil, false
}

func (s *scope) set(name string, v any) {
	if s.variables == nil {
		s.variables = map[string]any{}
	}
	s.variables[name] = v
}

// Render renders the template. variables are values of this package: nil, bool, int64, float64, string, *python.List and *python.Dict.
// The error is an *Error: Raised where the template refuses what it was given, Limit where it used too much.
func (t *Template) Render(variables map[string]any, o Options) (res Result, err error) {
	r := &run{out: &strings.Builder{}, now: o.Now}
	defer func() {
		if p := recover(); p != nil {
			res, err = Result{}, python.Recovered(p, r.line)
		}
	}()
	for name, v := range variables {
		if err := allowed(v, 0); err != nil {
			return Result{}, fmt.Errorf("jinja: the variable %s: %w", name, err)
		}
	}
	bytes := 0
	for _, v := range variables {
		bytes += size(v)
	}
	r.Meter = python.NewMeter(bytes)
	r.scope = &scope{variables, &scope{variables: globals}}
	r.scope = &scope{outer: r.scope}
	r.body(t.body)
	return Result{r.out.String(), r.generated}, nil
}

// allowed tells whether v is a value that a template may get.
func allowed(v any, depth int) error {
	if depth > 2*maxNested {
		return fmt.Errorf("nests too deeply")
	}
	var inner []any
	switch v := v.(type) {
	case nil, bool, int64, float64, string:
	case *python.List:
		inner = v.Items
	case *python.Dict:
		for _, key := range v.Keys() {
			inner = append(inner, at(v, key))
		}
	default:
		return fmt.Errorf("a %T is no value of a template", v)
	}
	for _, v := range inner {
		if err := allowed(v, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// size is about the number of bytes of a value.
func size(v any) int {
	n := 16
	switch v := v.(type) {
	case string:
		n += len(v)
	case *python.List:
		for _, item := range v.Items {
			n += size(item)
		}
	case *python.Dict:
		for _, key := range v.Keys() {
			n += size(key) + size(at(v, key))
		}
	}
	return n
}

func (r *run) write(s string) {
	r.Alloc(len(s))
	r.out.WriteString(s)
}

// body runs statements until one of them leaves the loop.
func (r *run) body(all []statement) flow {
	r.Enter()
	defer r.Leave()
	for _, s := range all {
		if f := s.exec(r); f != onward {
			return f
		}
	}
	return onward
}

// inner runs a body with variables of its own.
func (r *run) inner(s *scope, all []statement) flow {
	before := r.scope
	r.scope = s
	defer func() { r.scope = before }()
	return r.body(all)
}

// capture is the text that f writes.
func (r *run) capture(f func()) string {
	out := r.out
	r.out = &strings.Builder{}
	r.captures++
	defer func() { r.out = out; r.captures-- }()
	f()
	return r.out.String()
}

func (t *text) exec(r *run) flow {
	r.write(t.text)
	return onward
}

func (o *output) exec(r *run) flow {
	r.line = o.line
	v := o.value.eval(r)
	r.line = o.line
	r.write(r.Str(v))
	return onward
}

func (b *branches) exec(r *run) flow {
	for i, c := range b.conditions {
		r.line = b.line
		if python.Truth(c.eval(r)) {
			return r.body(b.bodies[i])
		}
	}
	if n := len(b.conditions); n < len(b.bodies) {
		return r.body(b.bodies[n])
	}
	return onward
}

// assign gives a target a value.
func (r *run) assign(t target, v any) {
	switch {
	case t.of != "":
		holder, _ := r.scope.get(t.of)
		ns, ok := holder.(*namespace)
		if !ok {
			python.Failf("%s is no namespace: only the attributes of a namespace can be set", t.of)
		}
		r.Alloc(32)
		ns.attributes.Set(t.name, v)
	case t.parts == nil:
		r.Alloc(32)
		r.scope.set(t.name, v)
	default:
		items := r.Items(v)
		if len(items) != len(t.parts) {
			python.Failf("%d values for %d names", len(items), len(t.parts))
		}
		for i, part := range t.parts {
			r.assign(part, items[i])
		}
	}
}

func (a *assignment) exec(r *run) flow {
	r.line = a.line
	if a.value != nil {
		v := a.value.eval(r)
		r.line = a.line
		r.assign(a.targets, v)
		return onward
	}
	var v any = r.capture(func() { r.inner(&scope{outer: r.scope}, a.body) })
	for _, f := range a.filtered {
		v = f.apply(r, v)
	}
	r.assign(a.targets, v)
	return onward
}

func (w *with) exec(r *run) flow {
	s := &scope{outer: r.scope}
	r.line = w.line
	for i, t := range w.targets {
		s.set(t.name, w.values[i].eval(r))
	}
	return r.inner(s, w.body)
}

func (g *generation) exec(r *run) flow {
	from := r.out.Len()
	f := r.inner(&scope{outer: r.scope}, g.body)
	if r.captures == 0 && r.out.Len() > from {
		r.generated = append(r.generated, [2]int{from, r.out.Len()})
	}
	return f
}

func (j *jump) exec(*run) flow { return j.flow }

func (f *filterBlock) exec(r *run) flow {
	var v any = r.capture(func() { r.inner(&scope{outer: r.scope}, f.body) })
	for _, filter := range f.filters {
		v = filter.apply(r, v)
	}
	r.write(r.Str(v))
	return onward
}

// loopState is the variable loop.
type loopState struct {
	items   []any
	at      int
	depth   int
	again   func(items any) any // of a recursive loop
	changed []any               // what loop.changed got last
}

func (l *loop) exec(r *run) flow {
	r.line = l.line
	l.run(r, l.over.eval(r), 0)
	return onward
}

// run goes over the elements of a list. Each round has variables of its own.
func (l *loop) run(r *run, over any, depth int) {
	items := l.picked(r, over)
	if len(items) == 0 {
		r.inner(&scope{outer: r.scope}, l.otherwise)
		return
	}
	state := &loopState{items: items, depth: depth}
	if l.recursive {
		scope := r.scope
		state.again = func(over any) any {
			before := r.scope
			r.scope = scope
			defer func() { r.scope = before }()
			return r.capture(func() { l.run(r, over, depth+1) })
		}
	}
	for i, item := range items {
		r.Step(4)
		state.at = i
		s := &scope{outer: r.scope}
		s.set("loop", state)
		l.bind(r, s, item)
		if r.inner(s, l.body) == toEnd {
			return
		}
	}
}

func (l *loop) bind(r *run, s *scope, item any) {
	before := r.scope
	r.scope, r.line = s, l.line
	r.assign(l.targets, item)
	r.scope = before
}

// picked are the elements that fit the loop's condition.
func (l *loop) picked(r *run, over any) []any {
	r.line = l.line
	items := r.Items(over)
	if l.condition == nil {
		return items
	}
	var picked []any
	for _, item := range items {
		s := &scope{outer: r.scope}
		l.bind(r, s, item)
		before := r.scope
		r.scope = s
		if python.Truth(l.condition.eval(r)) {
			picked = append(picked, item)
		}
		r.scope = before
	}
	return picked
}

// attribute is what the template reads as loop.name.
func (s *loopState) attribute(name string) (any, bool) {
	n := int64(len(s.items))
	at := int64(s.at)
	neighbour := func(i int) any {
		if i < 0 || i >= len(s.items) {
			return python.Undefined{Why: "there is no such item around this round of the loop"}
		}
		return s.items[i]
	}
	switch name {
	case "index":
		return at + 1, true
	case "index0":
		return at, true
	case "revindex":
		return n - at, true
	case "revindex0":
		return n - at - 1, true
	case "first":
		return at == 0, true
	case "last":
		return at == n-1, true
	case "length":
		return n, true
	case "depth":
		return int64(s.depth) + 1, true
	case "depth0":
		return int64(s.depth), true
	case "previtem":
		return neighbour(s.at - 1), true
	case "nextitem":
		return neighbour(s.at + 1), true
	case "cycle":
		return &function{"loop.cycle", func(r *run, a *given) any {
			if len(a.values) == 0 {
				python.Failf("loop.cycle wants values")
			}
			return a.values[s.at%len(a.values)]
		}}, true
	case "changed":
		return &function{"loop.changed", func(r *run, a *given) any {
			same := s.changed != nil && r.Equal(&python.List{Items: s.changed}, &python.List{Items: a.values})
			s.changed = append([]any{}, a.values...)
			return !same
		}}, true
	}
	return nil, false
}

// function makes a macro callable. Its body sees the variables of the place where it was defined.
func (m *macro) function(s *scope) *function {
	return &function{m.name, func(r *run, a *given) any {
		inner := &scope{outer: s}
		m.bind(r, inner, a)
		return r.capture(func() { r.inner(inner, m.body) })
	}}
}

// bind gives the parameters of a macro their values.
func (m *macro) bind(r *run, inner *scope, a *given) {
	before := r.scope
	r.scope = inner
	defer func() { r.scope = before }()
	for i, name := range m.names {
		v, ok := a.take(i, name)
		if first := len(m.names) - len(m.defaults); !ok && i >= first {
			v = m.defaults[i-first].eval(r)
		} else if !ok {
			v = python.Undefined{Why: fmt.Sprintf("the parameter %q of the macro %q was not given", name, m.name)}
		}
		inner.set(name, v)
	}
	if caller, ok := a.named["caller"]; ok {
		inner.set("caller", caller)
		delete(a.named, "caller")
	}
	rest := a.values[min(len(m.names), len(a.values)):]
	if len(rest) > 0 && !m.usesVarargs {
		python.Failf("the macro %q takes %d arguments, got %d", m.name, len(m.names), len(a.values))
	}
	inner.set("varargs", &python.List{Items: rest, Tuple: true})
	kwargs := python.NewDict()
	for _, name := range a.order {
		if v, ok := a.named[name]; ok {
			if !m.usesKwargs {
				python.Failf("the macro %q has no parameter %q", m.name, name)
			}
			kwargs.Set(name, v)
		}
	}
	inner.set("kwargs", kwargs)
}

func (m *macro) exec(r *run) flow {
	r.scope.set(m.name, m.function(r.scope))
	return onward
}

func (c *callBlock) exec(r *run) flow {
	r.line = c.line
	f := c.call.of.eval(r)
	a := c.call.arguments.eval(r)
	a.named["caller"] = c.caller.function(r.scope)
	r.write(r.Str(r.call(f, a)))
	return onward
}
