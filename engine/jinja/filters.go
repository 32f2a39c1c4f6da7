package jinja

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"llamatab/engine/jinja/python"
)

// filters by their names. Each gets the value before the bar.
var filters map[string]func(r *run, v any, a *given) any

func init() {
	filters = map[string]func(r *run, v any, a *given) any{
		"abs": absolute, "attr": attr, "batch": batch, "capitalize": onText(capitalize), "count": length, "d": orDefault, "default": orDefault,
		"dictsort": dictsort, "e": onText(escape), "escape": onText(escape), "first": first, "float": toFloat, "forceescape": onText(escape),
		"format": func(r *run, v any, a *given) any { return r.Percent(r.Str(v), a.values) }, "groupby": groupby, "indent": indent, "int": toInt,
		"items": items, "join": join, "last": last, "length": length, "list": list, "lower": onText(strings.ToLower), "map": mapped,
		"max": func(r *run, v any, a *given) any { return extreme(r, v, a, true) }, "min": func(r *run, v any, a *given) any { return extreme(r, v, a, false) },
		"reject": selection(false, false), "rejectattr": selection(true, false), "replace": replaceFilter, "reverse": reverse, "round": round,
		"safe": onText(same), "select": selection(false, true), "selectattr": selection(true, true), "slice": sliceFilter, "sort": sortFilter,
		"string": onText(same), "sum": sum, "title": onText(title), "tojson": tojson, "trim": trim, "unique": unique, "upper": onText(strings.ToUpper),
		"wordcount": func(r *run, v any, a *given) any { return int64(len(strings.FieldsFunc(r.Str(v), python.IsSpace))) },
		"center":    func(r *run, v any, a *given) any { return center(r, r.Str(v), a.integer(0, "width", 80), " ") },
	}
}

// onText makes a filter of a function of a text.
func onText(f func(string) string) func(r *run, v any, a *given) any {
	return func(r *run, v any, a *given) any {
		a.none(0)
		s := f(r.Str(v))
		r.Alloc(len(s))
		return s
	}
}

func same(s string) string { return s }

func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;").Replace(s)
}

func capitalize(s string) string {
	_, size := utf8.DecodeRuneInString(s)
	return strings.ToUpper(s[:size]) + strings.ToLower(s[size:])
}

// title makes the first letter of each word a capital, as the filter does: a word begins behind white space or one of -([{<.
func title(s string) string {
	var b strings.Builder
	begins := true
	for _, c := range s {
		if begins {
			b.WriteString(strings.ToUpper(string(c)))
		} else {
			b.WriteString(strings.ToLower(string(c)))
		}
		begins = python.IsSpace(c) || strings.ContainsRune("-([{<", c)
	}
	return b.String()
}

func absolute(r *run, v any, a *given) any {
	i, f, whole, ok := python.Number(v)
	switch {
	case !ok:
		python.Defined(v)
		python.Failf("abs wants a number, not %s", python.KindOf(v))
	case !whole:
		return math.Abs(f)
	case i < 0:
		return python.Integers("-", 0, i)
	}
	return i
}

func attr(r *run, v any, a *given) any { return r.attribute(v, r.Str(a.must(0, "name"))) }

func length(r *run, v any, a *given) any {
	switch v := v.(type) {
	case string:
		return int64(r.Characters(v))
	case *python.List:
		return int64(len(v.Items))
	case *python.Dict:
		return int64(len(v.Keys()))
	case python.Undefined:
		return int64(0)
	}
	python.Failf("%s has no length", python.KindOf(v))
	return nil
}

func orDefault(r *run, v any, a *given) any {
	_, missing := v.(python.Undefined)
	value := a.or(0, "default_value", "")
	if missing || python.Truth(a.or(1, "boolean", false)) && !python.Truth(v) {
		return value
	}
	return v
}

func items(r *run, v any, a *given) any {
	switch v := v.(type) {
	case *python.Dict:
		return pairs(r, v)
	case python.Undefined:
		return &python.List{}
	}
	python.Failf("items wants a dictionary, not %s", python.KindOf(v))
	return nil
}

// pairs are the keys with their values.
func pairs(r *run, d *python.Dict) *python.List {
	r.Alloc(80 * len(d.Keys()))
	l := &python.List{Items: make([]any, len(d.Keys()))}
	for i, key := range d.Keys() {
		l.Items[i] = &python.List{Items: []any{key, at(d, key)}, Tuple: true}
	}
	return l
}

// keyOf is what sort, unique and others order a value by: an attribute, and texts without regard to case.
func (r *run) keyOf(a *given, v any, path any, sensitive bool) any {
	if path != nil {
		v = r.path(v, path)
	}
	if s, ok := v.(string); ok && !sensitive {
		r.Alloc(len(s))
		return strings.ToLower(s)
	}
	return v
}

func dictsort(r *run, v any, a *given) any {
	d, ok := v.(*python.Dict)
	if !ok {
		python.Defined(v)
		python.Failf("dictsort wants a dictionary, not %s", python.KindOf(v))
	}
	sensitive := python.Truth(a.or(0, "case_sensitive", false))
	by, reverse := int64(0), false
	if r.Str(a.or(1, "by", "key")) == "value" {
		by = 1
	}
	reverse = python.Truth(a.or(2, "reverse", false))
	return &python.List{Items: r.Sorted(pairs(r, d).Items, reverse, func(pair any) any { return r.keyOf(a, pair, by, sensitive) })}
}

func sortFilter(r *run, v any, a *given) any {
	reverse, sensitive := python.Truth(a.or(0, "reverse", false)), python.Truth(a.or(1, "case_sensitive", false))
	path := a.or(2, "attribute", nil)
	return &python.List{Items: r.Sorted(r.Items(v), reverse, func(v any) any {
		if s, ok := path.(string); ok && strings.Contains(s, ",") {
			key := &python.List{}
			for part := range strings.SplitSeq(s, ",") {
				key.Items = append(key.Items, r.keyOf(a, v, strings.TrimSpace(part), sensitive))
			}
			return key
		}
		return r.keyOf(a, v, path, sensitive)
	})}
}

func groupby(r *run, v any, a *given) any {
	path := a.must(0, "attribute")
	missing, given := a.take(1, "default")
	key := func(v any) any {
		k := r.path(v, path)
		if _, is := k.(python.Undefined); is && given {
			return missing
		}
		return k
	}
	groups := &python.List{}
	for _, v := range r.Sorted(r.Items(v), false, func(v any) any { return r.keyOf(a, key(v), nil, false) }) {
		k := r.keyOf(a, key(v), nil, false)
		if n := len(groups.Items); n > 0 {
			group := groups.Items[n-1].(*python.List)
			if r.Equal(r.keyOf(a, group.Items[0], nil, false), k) {
				members := group.Items[1].(*python.List)
				members.Items = append(members.Items, v)
				continue
			}
		}
		groups.Items = append(groups.Items, &python.List{Items: []any{key(v), &python.List{Items: []any{v}}}, Tuple: true})
	}
	return groups
}

func unique(r *run, v any, a *given) any {
	sensitive, path := python.Truth(a.or(0, "case_sensitive", false)), a.or(1, "attribute", nil)
	seen, l := map[any]bool{}, &python.List{}
	for _, item := range r.Items(v) {
		key := python.Hashable(r.keyOf(a, item, path, sensitive))
		if !seen[key] {
			r.Alloc(64)
			seen[key] = true
			l.Items = append(l.Items, item)
		}
	}
	return l
}

func extreme(r *run, v any, a *given, most bool) any {
	sensitive, path := python.Truth(a.or(0, "case_sensitive", false)), a.or(1, "attribute", nil)
	var best any = python.Undefined{Why: "the list is empty"}
	for i, item := range r.Items(v) {
		if i == 0 {
			best = item
		} else if c := r.Compare(r.keyOf(a, item, path, sensitive), r.keyOf(a, best, path, sensitive)); c > 0 && most || c < 0 && !most {
			best = item
		}
	}
	return best
}

func first(r *run, v any, a *given) any {
	items := r.Items(v)
	if len(items) == 0 {
		return python.Undefined{Why: "the list has no first item"}
	}
	return items[0]
}

func last(r *run, v any, a *given) any {
	items := r.Items(v)
	if len(items) == 0 {
		return python.Undefined{Why: "the list has no last item"}
	}
	return items[len(items)-1]
}

func list(r *run, v any, a *given) any {
	items := r.Items(v)
	r.Alloc(16 * len(items))
	return &python.List{Items: append([]any{}, items...)}
}

func reverse(r *run, v any, a *given) any {
	if s, ok := v.(string); ok {
		return r.Slice(s, nil, nil, int64(-1))
	}
	l := list(r, v, a).(*python.List)
	for i, j := 0, len(l.Items)-1; i < j; i, j = i+1, j-1 {
		l.Items[i], l.Items[j] = l.Items[j], l.Items[i]
	}
	return l
}

func join(r *run, v any, a *given) any {
	between, path := r.Str(a.or(0, "d", "")), a.or(1, "attribute", nil)
	var b strings.Builder
	for i, item := range r.Items(v) {
		if i > 0 {
			b.WriteString(between)
		}
		if path != nil {
			item = r.path(item, path)
		}
		s := r.Str(item)
		r.Alloc(len(s) + len(between))
		b.WriteString(s)
	}
	return b.String()
}

func batch(r *run, v any, a *given) any {
	n := max(a.integer(0, "linecount", 0), 1)
	fill := a.or(1, "fill_with", nil)
	items, l := r.Items(v), &python.List{}
	r.Alloc(48 * len(items))
	for len(items) > 0 {
		k := min(int(n), len(items))
		row := append([]any{}, items[:k]...)
		if fill != nil && int64(len(row)) < n {
			r.Alloc(python.Times(n, 16))
			row = append(row, slices.Repeat([]any{fill}, int(n)-len(row))...)
		}
		l.Items, items = append(l.Items, &python.List{Items: row}), items[k:]
	}
	return l
}

// sliceFilter is the filter slice: a list cut into n lists of about the same length.
func sliceFilter(r *run, v any, a *given) any {
	n := a.integer(0, "slices", 0)
	fill := a.or(1, "fill_with", nil)
	items, l := r.Items(v), &python.List{}
	if n < 1 {
		python.Failf("slice wants one part at least")
	}
	r.Alloc(python.Times(n, 48) + 16*len(items))
	each, more := int64(len(items))/n, int64(len(items))%n
	for i := range n {
		k := each + python.One(i < more)
		row := append([]any{}, items[:k]...)
		if items = items[k:]; fill != nil && i >= more && more > 0 {
			row = append(row, fill)
		}
		l.Items = append(l.Items, &python.List{Items: row})
	}
	return l
}

func mapped(r *run, v any, a *given) any {
	items, l := r.Items(v), &python.List{}
	path, byPath := a.named["attribute"]
	missing, hasDefault := a.named["default"]
	var f func(r *run, v any, a *given) any
	if !byPath {
		name := r.Str(a.must(0, "filter"))
		if f = filters[name]; f == nil {
			python.Failf("there is no filter %q", name)
		}
		a.values = a.values[min(1, len(a.values)):]
	}
	r.Alloc(16 * len(items))
	for _, item := range items {
		r.Step(1)
		if f != nil {
			l.Items = append(l.Items, f(r, item, a.again()))
			continue
		}
		value := r.path(item, path)
		if _, is := value.(python.Undefined); is && hasDefault {
			value = missing
		}
		l.Items = append(l.Items, value)
	}
	return l
}

// again are the same arguments, for a function that takes the named ones off.
func (a *given) again() *given {
	named := make(map[string]any, len(a.named))
	for name, v := range a.named {
		named[name] = v
	}
	return &given{a.values, named, a.order}
}

// selection is one of the filters select, reject, selectattr and rejectattr.
func selection(byPath, wanted bool) func(r *run, v any, a *given) any {
	return func(r *run, v any, a *given) any {
		rest := a.values
		var path any
		if byPath {
			path = a.must(0, "attribute")
			rest = rest[min(1, len(rest)):]
		}
		check := func(v any) bool { return python.Truth(v) }
		if len(rest) > 0 {
			name := r.Str(rest[0])
			t := tests[name]
			if t == nil {
				python.Failf("there is no test %q", name)
			}
			check = func(v any) bool { return t(r, v, (&given{rest[1:], a.named, a.order}).again()) }
		}
		l := &python.List{}
		for _, item := range r.Items(v) {
			r.Alloc(16)
			value := item
			if byPath {
				value = r.path(item, path)
			}
			if check(value) == wanted {
				l.Items = append(l.Items, item)
			}
		}
		return l
	}
}

func replaceFilter(r *run, v any, a *given) any {
	old, with := r.Str(a.must(0, "old")), r.Str(a.must(1, "new"))
	count := a.or(2, "count", nil)
	n := int64(-1)
	if count != nil {
		n, _, _, _ = python.Number(count)
	}
	return r.replace(r.Str(v), old, with, n)
}

// replace replaces the first n occurrences of old, all where n is negative.
func (r *run) replace(s, old, with string, n int64) string {
	found := int64(strings.Count(s, old))
	if n < 0 || n > found {
		n = found
	}
	r.Alloc(len(s) + python.Times(n, len(with)))
	return strings.Replace(s, old, with, int(n))
}

func indent(r *run, v any, a *given) any {
	s := r.Str(v)
	by, isText := a.or(0, "width", int64(4)).(string)
	if !isText {
		width := a.integer(0, "width", 4)
		r.Alloc(python.Times(width, 1))
		by = strings.Repeat(" ", int(max(width, 0)))
	}
	first, blank := python.Truth(a.or(1, "first", false)), python.Truth(a.or(2, "blank", false))
	lines := strings.Split(s, "\n")
	r.Alloc(len(s) + python.Times(int64(len(lines)), len(by)+16))
	for i, line := range lines {
		if (i > 0 || first) && (line != "" || blank) {
			lines[i] = by + line
		}
	}
	return strings.Join(lines, "\n")
}

func trim(r *run, v any, a *given) any {
	s := r.Str(v)
	if set, ok := a.or(0, "chars", nil).(string); ok {
		return strings.Trim(s, set)
	}
	return strings.TrimFunc(s, python.IsSpace)
}

func sum(r *run, v any, a *given) any {
	path, total := a.or(0, "attribute", nil), a.or(1, "start", int64(0))
	for _, item := range r.Items(v) {
		if path != nil {
			item = r.path(item, path)
		}
		total = r.Calculate("+", total, item)
	}
	return total
}

func round(r *run, v any, a *given) any {
	n, f, whole, ok := python.Number(v)
	if !ok {
		python.Defined(v)
		python.Failf("round wants a number, not %s", python.KindOf(v))
	}
	precision := a.integer(0, "precision", 0)
	scale := math.Pow(10, float64(precision))
	switch method := r.Str(a.or(1, "method", "common")); method {
	case "ceil":
		return math.Ceil(f*scale) / scale
	case "floor":
		return math.Floor(f*scale) / scale
	case "common":
		if whole && precision >= 0 {
			return n
		}
		return math.RoundToEven(f*scale) / scale
	default:
		python.Failf("round has no method %q", method)
	}
	return nil
}

// integerText reads an integer with a sign and space around it, as Python's int does.
func integerText(s string) (int64, bool) {
	n, err := strconv.ParseInt(strings.TrimFunc(s, python.IsSpace), 10, 64)
	return n, err == nil
}

func toInt(r *run, v any, a *given) any {
	missing := a.or(0, "default", int64(0))
	base := a.integer(1, "base", 10)
	if s, ok := v.(string); ok {
		s = strings.TrimFunc(s, python.IsSpace)
		if n, err := strconv.ParseInt(s, int(max(min(base, 36), 2)), 64); err == nil {
			return n
		}
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return missing
		}
		v = f
	}
	i, f, whole, ok := python.Number(v)
	switch {
	case !ok || math.IsNaN(f) || math.Abs(f) >= 1<<63:
		return missing
	case whole:
		return i
	}
	return int64(f)
}

func toFloat(r *run, v any, a *given) any {
	missing := a.or(0, "default", 0.0)
	if s, ok := v.(string); ok {
		if f, err := strconv.ParseFloat(strings.TrimFunc(s, python.IsSpace), 64); err == nil {
			return f
		}
		return missing
	}
	if _, f, _, ok := python.Number(v); ok {
		return f
	}
	return missing
}

func tojson(r *run, v any, a *given) any {
	s := &python.JSONStyle{Between: ", ", Colon: ": "}
	// transformers' own tojson: tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False)
	s.ASCII = python.Truth(a.or(0, "ensure_ascii", false))
	switch indent := a.or(1, "indent", nil).(type) {
	case nil:
	case string:
		s.Indent, s.Lines = indent, true
	default:
		n, _, _, ok := python.Number(indent)
		if !ok {
			python.Defined(indent)
			python.Failf("indent wants a number, not %s", python.KindOf(indent))
		}
		r.Alloc(python.Times(n, 1))
		s.Indent, s.Lines = strings.Repeat(" ", int(max(n, 0))), true
	}
	if s.Lines {
		s.Between = ","
	}
	if l, ok := a.or(2, "separators", nil).(*python.List); ok && len(l.Items) == 2 {
		s.Between, s.Colon = r.Str(l.Items[0]), r.Str(l.Items[1])
	}
	s.Sorted = python.Truth(a.or(3, "sort_keys", false))
	a.none(4)
	var b strings.Builder
	r.WriteJSON(&b, v, s, 0)
	return b.String()
}
