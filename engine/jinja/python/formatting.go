package python

import (
	"fmt"
	"strconv"
	"strings"
)

// Percent formats a text with % as Python does, with the conversions s, r, d, i, u, f, F, e, g, x, X, o, c and %.
func (m *Meter) Percent(format string, values []any) string {
	var b strings.Builder
	used := 0
	for at := 0; at < len(format); at++ {
		if format[at] != '%' {
			b.WriteByte(format[at])
			continue
		}
		end := at + 1
		for end < len(format) && strings.IndexByte("-+ 0#.123456789", format[end]) >= 0 {
			end++
		}
		if end == len(format) {
			Failf("the format %q is not complete", format)
		}
		flags, verb := format[at+1:end], format[end]
		at = end
		if verb == '%' {
			b.WriteByte('%')
			continue
		}
		if used == len(values) {
			Failf("the format %q wants more values", format)
		}
		s := m.converted(flags, verb, values[used])
		used++
		m.Alloc(len(s))
		b.WriteString(s)
	}
	if used < len(values) {
		Failf("the format %q wants fewer values", format)
	}
	m.Alloc(len(format))
	return b.String()
}

// converted formats one value. A width of more than three digits is refused, as a template needs none.
func (m *Meter) converted(flags string, verb byte, v any) string {
	if width := strings.TrimLeft(flags, "-+ 0#"); len(width) > 7 || len(strings.Split(width+".", ".")[0]) > 3 {
		Failf("the width %s of a format is too large", width)
	}
	switch verb {
	case 's', 'r', 'a':
		text := m.Str(v)
		if s, ok := v.(string); ok && verb != 's' {
			var b strings.Builder
			ReprString(&b, s)
			text = b.String()
		}
		width := strings.TrimLeft(flags, "-+ 0#")
		marks := strings.ReplaceAll(flags[:len(flags)-len(width)], "0", "") // zeros before a text are Go's, not Python's
		return fmt.Sprintf("%"+marks+width+"s", text)
	case 'd', 'i', 'u', 'x', 'X', 'o', 'c':
		i, f, whole, ok := Number(v)
		if !ok {
			Defined(v)
			Failf("%%%c wants a number, not %s", verb, KindOf(v))
		}
		if !whole {
			i = int64(f)
		}
		if verb == 'i' || verb == 'u' {
			verb = 'd'
		}
		return fmt.Sprintf("%"+flags+string(verb), i)
	case 'f', 'F', 'e', 'E', 'g', 'G':
		_, f, _, ok := Number(v)
		if !ok {
			Defined(v)
			Failf("%%%c wants a number, not %s", verb, KindOf(v))
		}
		if (verb == 'g' || verb == 'G') && !strings.Contains(flags, ".") {
			flags += ".6" // Python's, where Go writes as many digits as there are
		}
		return fmt.Sprintf("%"+flags+string(verb), f)
	}
	Failf("a format has no conversion %q", verb)
	return ""
}

// Braces is str.format with {}, {0} and {name}; other format specifications than none are refused.
func (m *Meter) Braces(format string, values []any, named map[string]any) string {
	var b strings.Builder
	next := 0
	for at := 0; at < len(format); at++ {
		c := format[at]
		switch {
		case (c == '{' || c == '}') && at+1 < len(format) && format[at+1] == c:
			b.WriteByte(c)
			at++
		case c == '}':
			Failf("a single } stands in the format %q", format)
		case c == '{':
			end := strings.IndexByte(format[at:], '}')
			if end < 0 {
				Failf("a single { stands in the format %q", format)
			}
			field := format[at+1 : at+end]
			at += end
			var v any
			ok := false
			if field == "" {
				field = strconv.Itoa(next)
				next++
			}
			if n, err := strconv.Atoi(field); err == nil && n >= 0 && n < len(values) {
				v, ok = values[n], true
			} else {
				v, ok = named[field]
			}
			if !ok {
				Failf("the format %q has no value for {%s}", format, field)
			}
			s := m.Str(v)
			m.Alloc(len(s))
			b.WriteString(s)
		default:
			b.WriteByte(c)
		}
	}
	m.Alloc(len(format))
	return b.String()
}
