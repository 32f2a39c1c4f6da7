package jinja

import (
	"fmt"
	"strings"

	"llamatab/engine/jinja/python"
)

// given are the values of the arguments of a call.
type given struct {
	values []any
	named  map[string]any
	order  []string // of the names
}

// take is the argument at a place or of a name; a named one is taken off the list.
func (a *given) take(i int, name string) (any, bool) {
	if i < len(a.values) {
		if _, twice := a.named[name]; twice {
			python.Failf("the argument %q is given twice", name)
		}
		return a.values[i], true
	}
	v, ok := a.named[name]
	delete(a.named, name)
	return v, ok
}

// or is the argument at a place or of a name, or else a default.
func (a *given) or(i int, name string, missing any) any {
	if v, ok := a.take(i, name); ok {
		return v
	}
	return missing
}

// text is an argument that must be a text.
func (a *given) text(r *run, i int, name, missing string) string {
	v := a.or(i, name, missing)
	s, ok := v.(string)
	if !ok {
		python.Defined(v)
		python.Failf("%s wants a text, not %s", name, python.KindOf(v))
	}
	return s
}

// integer is an argument that must be a number.
func (a *given) integer(i int, name string, missing int64) int64 {
	v := a.or(i, name, missing)
	n, f, whole, ok := python.Number(v)
	if !ok {
		python.Defined(v)
		python.Failf("%s wants a number, not %s", name, python.KindOf(v))
	}
	if !whole {
		return int64(f)
	}
	return n
}

// must is an argument that has no default.
func (a *given) must(i int, name string) any {
	v, ok := a.take(i, name)
	if !ok {
		python.Failf("the argument %q is missing", name)
	}
	return v
}

// none ends rendering where there are more arguments than the first few, or names that nobody took.
func (a *given) none(most int) {
	if len(a.values) > most {
		python.Failf("%d arguments where at most %d are taken", len(a.values), most)
	}
	for _, name := range a.order {
		if _, left := a.named[name]; left {
			python.Failf("there is no argument %q", name)
		}
	}
}

func (a *arguments) eval(r *run) *given {
	g := &given{named: map[string]any{}}
	named := len(a.values) - len(a.names)
	for _, e := range a.values[:named] {
		g.values = append(g.values, e.eval(r))
	}
	if a.spread != nil {
		items := r.Items(a.spread.eval(r))
		r.Alloc(16 * len(items))
		g.values = append(g.values, items...)
	}
	add := func(name string, v any) {
		if _, twice := g.named[name]; twice {
			python.Failf("the argument %q is given twice", name)
		}
		g.named[name], g.order = v, append(g.order, name)
	}
	for i, e := range a.values[named:] {
		add(a.names[i], e.eval(r))
	}
	if a.named != nil {
		d, ok := a.named.eval(r).(*python.Dict)
		if !ok {
			python.Failf("** wants a dictionary")
		}
		for _, key := range d.Keys() {
			r.Step(1)
			add(r.Str(key), at(d, key))
		}
	}
	return g
}

// call calls a function.
func (r *run) call(f any, a *given) any {
	r.Enter()
	defer r.Leave()
	switch f := f.(type) {
	case *function:
		return f.call(r, a)
	case *loopState:
		if f.again == nil {
			python.Failf("the loop is not recursive")
		}
		return f.again(a.must(0, "items"))
	}
	python.Defined(f)
	python.Failf("%s cannot be called", python.KindOf(f))
	return nil
}

func (c *constant) eval(*run) any { return c.value }

func (n *name) eval(r *run) any {
	r.Step(1)
	if v, ok := r.scope.get(n.name); ok {
		return v
	}
	return python.Undefined{Why: fmt.Sprintf("%q is undefined", n.name)}
}

func (s *sequence) eval(r *run) any {
	r.Enter()
	defer r.Leave()
	r.Alloc(24 * len(s.items))
	l := &python.List{Items: make([]any, len(s.items)), Tuple: s.tuple}
	for i, e := range s.items {
		l.Items[i] = e.eval(r)
	}
	return l
}

func (m *mapping) eval(r *run) any {
	r.Enter()
	defer r.Leave()
	r.Alloc(64 * len(m.keys))
	d := python.NewDict()
	for i, key := range m.keys {
		d.Set(key.eval(r), m.values[i].eval(r))
	}
	return d
}

func (a *attribute) eval(r *run) any {
	r.Enter()
	defer r.Leave()
	of := a.of.eval(r)
	r.line = a.line
	return r.attribute(of, a.name)
}

// attribute is v.name: a method or an attribute, or else what a dictionary holds under the name.
func (r *run) attribute(v any, name string) any {
	python.Defined(v)
	if f := method(v, name); f != nil {
		return f
	}
	switch v := v.(type) {
	case *python.Dict:
		if value, ok := v.Get(name); ok {
			return value
		}
	case *namespace:
		if value, ok := v.attributes.Get(name); ok {
			return value
		}
	case *loopState:
		if value, ok := v.attribute(name); ok {
			return value
		}
	}
	return python.Undefined{Why: fmt.Sprintf("%s has no attribute %q", python.KindOf(v), name)}
}

func (i *index) eval(r *run) any {
	r.Enter()
	defer r.Leave()
	of, at := i.of.eval(r), i.at.eval(r)
	r.line = i.line
	return r.index(of, at)
}

// index is v[at].
func (r *run) index(v, at any) any {
	python.Defined(v)
	key, isText := at.(string)
	n, _, integer, _ := python.Number(at)
	missing := func() any {
		return python.Undefined{Why: fmt.Sprintf("%s has no element %s", python.KindOf(v), r.Str(at))}
	}
	switch v := v.(type) {
	case *python.Dict:
		if value, ok := v.Get(at); ok {
			return value
		}
	case *python.List:
		if integer {
			if n < 0 {
				n += int64(len(v.Items))
			}
			if n >= 0 && n < int64(len(v.Items)) {
				return v.Items[n]
			}
			return missing()
		}
	case string:
		if integer {
			if part, ok := r.Slice(v, n, nextIndex(n), nil).(string); ok && part != "" {
				return part
			}
			return missing()
		}
	case *namespace:
		if isText {
			return r.attribute(v, key)
		}
	}
	if isText {
		if f := method(v, key); f != nil {
			return f
		}
	}
	return missing()
}

// nextIndex is the end of the slice of one element at n.
func nextIndex(n int64) any {
	if n == -1 {
		return nil
	}
	return n + 1
}

func (s *slice) eval(r *run) any {
	r.Enter()
	defer r.Leave()
	bound := func(e expression) any {
		if e == nil {
			return nil
		}
		return e.eval(r)
	}
	of, from, to, by := s.of.eval(r), bound(s.from), bound(s.to), bound(s.increment)
	r.line = s.line
	return r.Slice(of, from, to, by)
}

func (c *call) eval(r *run) any {
	r.Enter()
	defer r.Leave()
	of, a := c.of.eval(r), c.arguments.eval(r)
	r.line = c.line
	return r.call(of, a)
}

func (f *filter) eval(r *run) any {
	r.Enter()
	defer r.Leave()
	return f.apply(r, f.of.eval(r))
}

// apply is the filter's value for v.
func (f *filter) apply(r *run, v any) any {
	a := f.arguments.eval(r)
	r.line = f.line
	return filters[f.name](r, v, a)
}

func (t *test) eval(r *run) any {
	r.Enter()
	defer r.Leave()
	v, a := t.of.eval(r), t.arguments.eval(r)
	r.line = t.line
	return tests[t.name](r, v, a)
}

func (n *negation) eval(r *run) any {
	r.Enter()
	defer r.Leave()
	return !python.Truth(n.of.eval(r))
}

func (u *unary) eval(r *run) any {
	r.Enter()
	defer r.Leave()
	v := u.of.eval(r)
	r.line = u.line
	if u.operator == "-" {
		return r.Calculate("-", int64(0), v)
	}
	return r.Calculate("+", int64(0), v)
}

func (o *arithmetic) eval(r *run) any {
	r.Enter()
	defer r.Leave()
	left, right := o.left.eval(r), o.right.eval(r)
	r.line = o.line
	return r.Calculate(o.operator, left, right)
}

func (l *logical) eval(r *run) any {
	r.Enter()
	defer r.Leave()
	if v := l.left.eval(r); python.Truth(v) == l.or {
		return v
	}
	return l.right.eval(r)
}

func (c *comparison) eval(r *run) any {
	r.Enter()
	defer r.Leave()
	left := c.operands[0].eval(r)
	for i, operator := range c.operators {
		right := c.operands[i+1].eval(r)
		r.line = c.line
		if !r.Holds(operator, left, right) {
			return false
		}
		left = right
	}
	return true
}

func (c *concatenation) eval(r *run) any {
	r.Enter()
	defer r.Leave()
	parts := make([]string, len(c.parts))
	for i, e := range c.parts {
		parts[i] = r.Str(e.eval(r))
		r.Alloc(len(parts[i]))
	}
	return strings.Join(parts, "")
}

func (c *conditional) eval(r *run) any {
	r.Enter()
	defer r.Leave()
	if python.Truth(c.condition.eval(r)) {
		return c.then.eval(r)
	}
	if c.otherwise == nil {
		return python.Undefined{Why: "the inline if has no else"}
	}
	return c.otherwise.eval(r)
}

// path is the value at a path of attributes and indices, as the filters map, selectattr and others take it: "a.0.b".
func (r *run) path(v any, path any) any {
	if n, ok := path.(int64); ok {
		return r.index(v, n)
	}
	s, ok := path.(string)
	if !ok {
		python.Defined(path)
		python.Failf("an attribute is a text, not %s", python.KindOf(path))
	}
	for part := range strings.SplitSeq(s, ".") {
		r.Step(1)
		if n, ok := integerText(part); ok {
			v = r.index(v, n)
		} else if u, ok := v.(python.Undefined); ok {
			return u
		} else if found := r.index(v, part); python.KindOf(found) != "undefined" {
			v = found
		} else {
			v = r.attribute(v, part)
		}
	}
	return v
}
