package python

import (
	"math"
	"slices"
	"strings"
	"unicode"
)

// Number is a value as a number: an integer, or else a floating-point number. A boolean counts as 0 or 1.
func Number(v any) (i int64, f float64, integer, ok bool) {
	switch v := v.(type) {
	case bool:
		i = One(v)
		return i, float64(i), true, true
	case int64:
		return v, float64(v), true, true
	case float64:
		return 0, v, false, true
	}
	return 0, 0, false, false
}

// Defined ends rendering where a value is undefined.
func Defined(v any) {
	if u, ok := v.(Undefined); ok {
		Failf("%s", u.Why)
	}
}

func mismatch(operator string, a, b any) {
	Defined(a)
	Defined(b)
	Failf("%s cannot be used with %s and %s", operator, KindOf(a), KindOf(b))
}

// Calculate applies an arithmetic operator.
func (m *Meter) Calculate(operator string, a, b any) any {
	switch x := a.(type) {
	case string:
		switch y := b.(type) {
		case string:
			if operator == "+" {
				m.Alloc(len(x) + len(y))
				return x + y
			}
		}
		if operator == "%" {
			values := []any{b}
			if l, ok := b.(*List); ok && l.Tuple {
				values = l.Items
			}
			return m.Percent(x, values)
		}
	case *List:
		if y, ok := b.(*List); ok && operator == "+" && x.Tuple == y.Tuple {
			m.Alloc(16 * (len(x.Items) + len(y.Items)))
			return &List{slices.Concat(x.Items, y.Items), x.Tuple}
		}
	}
	if operator == "*" {
		if v, ok := m.repeat(a, b); ok {
			return v
		}
		if v, ok := m.repeat(b, a); ok {
			return v
		}
	}
	i, f, integer, ok := Number(a)
	j, g, whole, okay := Number(b)
	if !ok || !okay {
		mismatch(operator, a, b)
	}
	if integer && whole && operator != "/" && !(operator == "**" && j < 0) {
		return Integers(operator, i, j)
	}
	return floats(operator, f, g)
}

// repeat is a text or a list, several times.
func (m *Meter) repeat(v, n any) (any, bool) {
	times64, _, integer, _ := Number(n)
	if !integer {
		return nil, false
	}
	switch v := v.(type) {
	case string:
		m.Alloc(Times(times64, len(v)))
		return strings.Repeat(v, int(max(times64, 0))), true
	case *List:
		m.Alloc(Times(times64, 16*len(v.Items)))
		if len(v.Items) == 0 {
			return &List{Tuple: v.Tuple}, true
		}
		return &List{slices.Repeat(v.Items, int(max(times64, 0))), v.Tuple}, true
	}
	return nil, false
}

// Integers applies an operator to integers. Numbers beyond 64 bits, which Python has, are an error.
func Integers(operator string, a, b int64) any {
	overflow := func(bad bool) {
		if bad {
			Failf("the integer that %s makes is too large", operator)
		}
	}
	switch operator {
	case "+":
		overflow((a+b > a) != (b > 0) && b != 0)
		return a + b
	case "-":
		overflow((a-b < a) != (b > 0) && b != 0)
		return a - b
	case "*":
		overflow(a != 0 && (a*b/a != b || a == -1 && b == math.MinInt64))
		return a * b
	case "**":
		n := int64(1)
		for range min(b, 64) {
			overflow(a != 0 && n*a/a != n)
			n *= a
		}
		overflow(b > 64 && (a > 1 || a < -1))
		if b > 64 && a == -1 && b%2 == 1 {
			return int64(-1)
		}
		return n
	}
	if b == 0 {
		Failf("division by zero")
	}
	overflow(a == math.MinInt64 && b == -1)
	quotient, rest := a/b, a%b
	if rest != 0 && (rest < 0) != (b < 0) { // Python rounds down
		quotient, rest = quotient-1, rest+b
	}
	if operator == "%" {
		return rest
	}
	return quotient
}

func floats(operator string, a, b float64) any {
	switch operator {
	case "+":
		return a + b
	case "-":
		return a - b
	case "*":
		return a * b
	case "**":
		return math.Pow(a, b)
	}
	if b == 0 {
		Failf("division by zero")
	}
	switch operator {
	case "/":
		return a / b
	case "//":
		return math.Floor(a / b)
	}
	rest := math.Mod(a, b)
	if rest != 0 && (rest < 0) != (b < 0) {
		rest += b
	}
	return rest
}

// Equal compares as Python's == does.
func (m *Meter) Equal(a, b any) bool {
	m.Enter()
	defer m.Leave()
	_, f, _, ok := Number(a)
	_, g, _, okay := Number(b)
	if ok || okay {
		return ok && okay && f == g
	}
	switch a := a.(type) {
	case string:
		b, ok := b.(string)
		return ok && a == b
	case Undefined:
		_, ok := b.(Undefined)
		return ok
	case *List:
		b, ok := b.(*List)
		return ok && a.Tuple == b.Tuple && slices.EqualFunc(a.Items, b.Items, m.Equal)
	case *Dict:
		b, ok := b.(*Dict)
		if !ok || len(a.keys) != len(b.keys) {
			return false
		}
		for _, key := range a.keys {
			other, ok := b.values[key]
			if !ok || !m.Equal(a.values[key], other) {
				return false
			}
		}
		return true
	}
	return a == b
}

// Compare orders two values as Python's < does; other kinds than numbers, texts and lists have no order.
func (m *Meter) Compare(a, b any) int {
	m.Enter()
	defer m.Leave()
	_, f, _, ok := Number(a)
	_, g, _, okay := Number(b)
	if ok && okay {
		switch {
		case f < g:
			return -1
		case f > g:
			return 1
		}
		return 0
	}
	switch x := a.(type) {
	case string:
		if y, ok := b.(string); ok {
			return strings.Compare(x, y)
		}
	case *List:
		if y, ok := b.(*List); ok && x.Tuple == y.Tuple {
			return slices.CompareFunc(x.Items, y.Items, m.Compare)
		}
	}
	mismatch("<", a, b)
	return 0
}

// Contains is Python's in.
func (m *Meter) Contains(container, v any) bool {
	switch c := container.(type) {
	case string:
		s, ok := v.(string)
		if !ok {
			Defined(v)
			Failf("in a text there can be a text, not %s", KindOf(v))
		}
		m.Step(len(c) >> 8)
		return strings.Contains(c, s)
	case *List:
		return slices.ContainsFunc(c.Items, func(item any) bool { return m.Equal(item, v) })
	case *Dict:
		_, ok := c.Get(v)
		return ok
	case Undefined:
		return false
	}
	Failf("%s contains nothing: in wants a text, a list or a dictionary", KindOf(container))
	return false
}

// Holds tells whether a comparison operator holds between two values.
func (m *Meter) Holds(operator string, a, b any) bool {
	switch operator {
	case "==":
		return m.Equal(a, b)
	case "!=":
		return !m.Equal(a, b)
	case "in":
		return m.Contains(b, a)
	case "not in":
		return !m.Contains(b, a)
	}
	c := m.Compare(a, b)
	switch operator {
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	}
	return c >= 0
}

// Items are the elements that a loop goes over: of a list its items, of a dictionary its keys, of a text its characters.
func (m *Meter) Items(v any) []any {
	switch v := v.(type) {
	case *List:
		return v.Items
	case *Dict:
		return v.keys
	case string:
		m.Alloc(24 * len(v))
		items := make([]any, 0, len(v))
		for _, c := range v {
			items = append(items, string(c))
		}
		return items
	case Undefined:
		return nil
	}
	Failf("%s is no list that a loop could go over", KindOf(v))
	return nil
}

// Sorted is a sorted copy of items.
func (m *Meter) Sorted(items []any, reverse bool, key func(any) any) []any {
	m.Alloc(16 * len(items))
	items = slices.Clone(items)
	slices.SortStableFunc(items, func(a, b any) int {
		c := m.Compare(key(a), key(b))
		if reverse {
			return -c
		}
		return c
	})
	return items
}

// Slice is what Python's v[from:to:step] is. nil stands for a bound that is left out.
func (m *Meter) Slice(v, from, to, step any) any {
	var items []any
	s, isText := v.(string)
	n := 0
	m.Step(len(s) >> 8)
	ascii := isText && isASCII(s)
	switch {
	case ascii:
		n = len(s)
	case isText:
		items = m.Items(s)
		n = len(items)
	default:
		l, ok := v.(*List)
		if !ok {
			Defined(v)
			Failf("%s has no slices", KindOf(v))
		}
		items = l.Items
		n = len(items)
	}
	start, end, by := bounds(from, to, step, n)
	if by == 1 && ascii {
		return s[start:max(start, end)]
	}
	var picked []any
	var text strings.Builder
	for i := start; by > 0 && i < end || by < 0 && i > end; i += by {
		m.Step(1)
		switch {
		case ascii:
			text.WriteByte(s[i])
		case isText:
			text.WriteString(items[i].(string))
		default:
			picked = append(picked, items[i])
		}
	}
	if isText {
		m.Alloc(text.Len())
		return text.String()
	}
	m.Alloc(16 * len(picked))
	return &List{picked, v.(*List).Tuple}
}

// bounds are the indices of a slice of n elements: from start, before end.
func bounds(from, to, step any, n int) (start, end, by int) {
	whole := func(v any, missing int) int {
		if v == nil {
			return missing
		}
		i, ok := v.(int64)
		if !ok {
			Defined(v)
			Failf("a slice wants integers, not %s", KindOf(v))
		}
		return int(max(min(i, math.MaxInt32), -math.MaxInt32))
	}
	by = whole(step, 1)
	if by == 0 {
		Failf("the step of a slice is 0")
	}
	low, high := 0, n
	if by < 0 {
		low, high = -1, n-1
	}
	clamp := func(i int) int {
		if i < 0 {
			i += n
		}
		return max(low, min(i, high))
	}
	start, end = low, high
	if by < 0 {
		start, end = high, low
	}
	if from != nil {
		start = clamp(whole(from, 0))
	}
	if to != nil {
		end = clamp(whole(to, 0))
	}
	return start, end, by
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// IsSpace tells whether str.isspace counts c.
func IsSpace(c rune) bool { return unicode.IsSpace(c) || c >= 0x1c && c <= 0x1f }
