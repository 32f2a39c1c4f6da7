package jinja

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"llamatab/engine/jinja/python"
)

// A method gets the value that it belongs to.
type methodOf func(r *run, s string, a *given) any

// method is the method of a value as a function, nil where there is none.
func method(v any, name string) any {
	switch v := v.(type) {
	case string:
		if f := textMethods[name]; f != nil {
			return &function{name, func(r *run, a *given) any { return f(r, v, a) }}
		}
	case *python.Dict:
		if f := dictMethods[name]; f != nil {
			return &function{name, func(r *run, a *given) any { return f(r, v, a) }}
		}
		if mutating[name] && at(v, name) == nil {
			return refusedMethod(name)
		}
	case *python.List:
		if f := listMethods[name]; f != nil {
			return &function{name, func(r *run, a *given) any { return f(r, v, a) }}
		}
		if mutating[name] {
			return refusedMethod(name)
		}
	}
	return nil
}

// mutating are the methods that the sandbox in which transformers renders templates refuses.
var mutating = map[string]bool{
	"append": true, "clear": true, "extend": true, "insert": true, "pop": true, "popitem": true, "remove": true, "reverse": true, "setdefault": true,
	"sort": true, "update": true,
}

func refusedMethod(name string) any {
	return &function{name, func(*run, *given) any {
		python.Failf("the method %s changes a list or a dictionary: the sandbox in which chat templates run has no such methods", name)
		return nil
	}}
}

var dictMethods = map[string]func(r *run, d *python.Dict, a *given) any{
	"items":  func(r *run, d *python.Dict, a *given) any { a.none(0); return pairs(r, d) },
	"keys":   func(r *run, d *python.Dict, a *given) any { a.none(0); return list(r, d, a) },
	"values": dictValues,
	"get": func(r *run, d *python.Dict, a *given) any {
		if v, ok := d.Get(a.must(0, "key")); ok {
			return v
		}
		return a.or(1, "default", nil)
	},
	"copy": func(r *run, d *python.Dict, a *given) any { return makeDict(r, &given{values: []any{d}}) },
}

func dictValues(r *run, d *python.Dict, a *given) any {
	a.none(0)
	r.Alloc(16 * len(d.Keys()))
	l := &python.List{}
	for _, key := range d.Keys() {
		l.Items = append(l.Items, at(d, key))
	}
	return l
}

var listMethods = map[string]func(r *run, l *python.List, a *given) any{
	"index": func(r *run, l *python.List, a *given) any {
		v := a.must(0, "value")
		for i, item := range l.Items {
			if r.Equal(item, v) {
				return int64(i)
			}
		}
		python.Failf("the list has no such value")
		return nil
	},
	"count": func(r *run, l *python.List, a *given) any {
		v, n := a.must(0, "value"), int64(0)
		for _, item := range l.Items {
			n += python.One(r.Equal(item, v))
		}
		return n
	},
	"copy": func(r *run, l *python.List, a *given) any { return list(r, l, a) },
}

// all tells whether a text has characters and each is of a kind.
func all(is func(rune) bool) methodOf {
	return func(r *run, s string, a *given) any {
		a.none(0)
		r.Step(len(s) >> 6)
		return s != "" && strings.IndexFunc(s, func(c rune) bool { return !is(c) }) < 0
	}
}

// changed makes a method of a function of a text.
func changed(f func(string) string) methodOf {
	return func(r *run, s string, a *given) any { return onText(f)(r, s, a) }
}

// affix tells whether a text begins or ends with one of several texts.
func affix(has func(s, part string) bool) methodOf {
	return func(r *run, s string, a *given) any {
		parts := []any{a.must(0, "prefix")}
		if l, ok := parts[0].(*python.List); ok && l.Tuple {
			parts = l.Items
		}
		for _, part := range parts {
			p, ok := part.(string)
			if !ok {
				python.Defined(part)
				python.Failf("startswith and endswith want a text, not %s", python.KindOf(part))
			}
			if has(s, p) {
				return true
			}
		}
		return false
	}
}

// stripped is strip, lstrip or rstrip.
func stripped(left, right bool) methodOf {
	return func(r *run, s string, a *given) any {
		cut := python.IsSpace
		r.Step(len(s) >> 8)
		if v := a.or(0, "chars", nil); v != nil {
			set := (&given{values: []any{v}}).text(r, 0, "chars", "")
			cut = func(c rune) bool { return strings.ContainsRune(set, c) }
			r.Step(len(s) * len(set) >> 8)
		}
		if left {
			s = strings.TrimLeftFunc(s, cut)
		}
		if right {
			s = strings.TrimRightFunc(s, cut)
		}
		return s
	}
}

// found is find or rfind, which answer −1 where there is nothing, or index.
func found(search func(s, part string) int, must bool) methodOf {
	return func(r *run, s string, a *given) any {
		part := a.text(r, 0, "sub", "")
		r.Step(len(s) >> 8)
		skipped := 0
		if len(a.values) > 1 {
			from, _ := r.Slice(s, a.values[1], nil, nil).(string)
			skipped = r.Characters(s) - r.Characters(from)
			s = from
		}
		at := search(s, part)
		if at < 0 {
			if must {
				python.Failf("the text has no %q", part)
			}
			return int64(-1)
		}
		return int64(r.Characters(s[:at]) + skipped)
	}
}

// split is split or rsplit.
func split(fromRight bool) methodOf {
	return func(r *run, s string, a *given) any {
		separator, most := a.or(0, "sep", nil), a.integer(1, "maxsplit", -1)
		var parts []string
		switch sep := separator.(type) {
		case nil:
			parts = fields(s, most, fromRight)
		case string:
			if sep == "" {
				python.Failf("split wants a separator that is not empty")
			}
			parts = splitBy(s, sep, most, fromRight)
		default:
			python.Defined(sep)
			python.Failf("split wants a text, not %s", python.KindOf(sep))
		}
		r.Alloc(32 * len(parts))
		return textList(parts)
	}
}

func textList(parts []string) *python.List {
	l := &python.List{Items: make([]any, len(parts))}
	for i, part := range parts {
		l.Items[i] = part
	}
	return l
}

func splitBy(s, sep string, most int64, fromRight bool) []string {
	if most < 0 || int64(strings.Count(s, sep)) <= most {
		return strings.Split(s, sep)
	}
	if !fromRight {
		return strings.SplitN(s, sep, int(most)+1)
	}
	var parts []string
	for ; most > 0; most-- {
		at := strings.LastIndex(s, sep)
		parts = append([]string{s[at+len(sep):]}, parts...)
		s = s[:at]
	}
	return append([]string{s}, parts...)
}

// fields splits at white space, at most so many times.
func fields(s string, most int64, fromRight bool) (parts []string) {
	if most < 0 {
		return strings.FieldsFunc(s, python.IsSpace)
	}
	for s = strings.TrimFunc(s, python.IsSpace); s != ""; most-- {
		at := strings.IndexFunc(s, python.IsSpace)
		if fromRight {
			at = strings.LastIndexFunc(s, python.IsSpace)
		}
		switch {
		case at < 0 || most == 0:
			parts, s = append(parts, s), ""
		case fromRight:
			word := strings.TrimLeftFunc(s[at:], python.IsSpace)
			parts, s = append(parts, word), strings.TrimRightFunc(s[:at], python.IsSpace)
		default:
			parts, s = append(parts, s[:at]), strings.TrimLeftFunc(s[at:], python.IsSpace)
		}
	}
	if fromRight {
		for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
			parts[i], parts[j] = parts[j], parts[i]
		}
	}
	return parts
}

func splitLines(r *run, s string, a *given) any {
	keep := python.Truth(a.or(0, "keepends", false))
	var parts []string
	for s != "" {
		at := strings.IndexAny(s, "\n\r\v\f\x1c\x1d\x1e\u0085\u2028\u2029")
		if at < 0 {
			parts, s = append(parts, s), ""
			break
		}
		end := at + 1
		if strings.HasPrefix(s[at:], "\r\n") {
			end = at + 2
		} else if s[at] >= 0x80 {
			_, size := utf8.DecodeRuneInString(s[at:])
			end = at + size
		}
		if keep {
			at = end
		}
		parts, s = append(parts, s[:at]), s[end:]
	}
	r.Alloc(32 * len(parts))
	return textList(parts)
}

// partition is partition or rpartition.
func partition(fromRight bool) methodOf {
	return func(r *run, s string, a *given) any {
		sep := a.text(r, 0, "sep", "")
		at := strings.Index(s, sep)
		if fromRight {
			at = strings.LastIndex(s, sep)
		}
		parts := []any{s, "", ""}
		switch {
		case sep == "":
			python.Failf("partition wants a separator that is not empty")
		case at >= 0:
			parts = []any{s[:at], sep, s[at+len(sep):]}
		case fromRight:
			parts = []any{"", "", s}
		}
		return &python.List{Items: parts, Tuple: true}
	}
}

// padded is the text with a filling around it, so that it has a width.
func padded(r *run, s, fill string, left, right int64) string {
	r.Alloc(len(s) + python.Times(left, 4) + python.Times(right, 4))
	return strings.Repeat(fill, int(max(left, 0))) + s + strings.Repeat(fill, int(max(right, 0)))
}

func center(r *run, s string, width int64, fill string) any {
	missing := max(width-int64(r.Characters(s)), 0)
	left := missing / 2
	left += missing & width & 1 // as Python's str.center: of an odd number of blanks the larger part is left where the width is odd
	return padded(r, s, fill, left, missing-left)
}

// just is ljust or rjust.
func just(left bool) methodOf {
	return func(r *run, s string, a *given) any {
		missing := a.integer(0, "width", 0) - int64(r.Characters(s))
		fill := a.text(r, 1, "fillchar", " ")
		if r.Characters(fill) != 1 {
			python.Failf("fillchar wants one character")
		}
		if left {
			return padded(r, s, fill, 0, missing)
		}
		return padded(r, s, fill, missing, 0)
	}
}

func zfill(r *run, s string, a *given) any {
	missing := a.integer(0, "width", 0) - int64(r.Characters(s))
	if strings.HasPrefix(s, "-") || strings.HasPrefix(s, "+") {
		return s[:1] + padded(r, s[1:], "0", missing, 0)
	}
	return padded(r, s, "0", missing, 0)
}

// titled is str.title: every letter behind something that is no letter is a capital.
func titled(s string) string {
	var b strings.Builder
	word := false
	for _, c := range s {
		if word {
			b.WriteString(strings.ToLower(string(c)))
		} else {
			b.WriteString(strings.ToUpper(string(c)))
		}
		word = unicode.IsLetter(c)
	}
	return b.String()
}

func swapped(s string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsUpper(c) {
			return unicode.ToLower(c)
		}
		return unicode.ToUpper(c)
	}, s)
}

func cased(test string) methodOf {
	return func(r *run, s string, a *given) any { return tests[test](r, s, a) }
}

var textMethods map[string]methodOf

func init() {
	textMethods = map[string]methodOf{
		"strip": stripped(true, true), "lstrip": stripped(true, false), "rstrip": stripped(false, true), "split": split(false), "rsplit": split(true),
		"splitlines": splitLines, "startswith": affix(strings.HasPrefix), "endswith": affix(strings.HasSuffix), "upper": changed(strings.ToUpper),
		"lower": changed(strings.ToLower), "title": changed(titled), "capitalize": changed(capitalize), "swapcase": changed(swapped),
		"casefold": changed(strings.ToLower), "find": found(strings.Index, false), "rfind": found(strings.LastIndex, false),
		"index": found(strings.Index, true), "rindex": found(strings.LastIndex, true), "partition": partition(false), "rpartition": partition(true),
		"isdigit": all(unicode.IsDigit), "isdecimal": all(unicode.IsDigit), "isnumeric": all(unicode.IsNumber), "isalpha": all(unicode.IsLetter),
		"isalnum": all(func(c rune) bool { return unicode.IsLetter(c) || unicode.IsNumber(c) }), "isspace": all(python.IsSpace),
		"isupper": cased("upper"), "islower": cased("lower"), "ljust": just(true), "rjust": just(false), "zfill": zfill,
		"center": func(r *run, s string, a *given) any {
			return center(r, s, a.integer(0, "width", 0), a.text(r, 1, "fillchar", " "))
		},
		"count": func(r *run, s string, a *given) any {
			sub := a.text(r, 0, "sub", "")
			r.Step(len(s) >> 6)
			if sub == "" {
				return int64(r.Characters(s) + 1)
			}
			return int64(strings.Count(s, sub))
		},
		"replace": func(r *run, s string, a *given) any {
			return r.replace(s, a.text(r, 0, "old", ""), a.text(r, 1, "new", ""), a.integer(2, "count", -1))
		},
		"join": func(r *run, s string, a *given) any {
			for _, item := range r.Items(a.must(0, "items")) {
				if _, ok := item.(string); !ok {
					python.Defined(item)
					python.Failf("join wants texts, not %s", python.KindOf(item))
				}
			}
			return join(r, a.must(0, "items"), &given{values: []any{s}})
		},
		"removeprefix": func(r *run, s string, a *given) any { return strings.TrimPrefix(s, a.text(r, 0, "prefix", "")) },
		"removesuffix": func(r *run, s string, a *given) any { return strings.TrimSuffix(s, a.text(r, 0, "suffix", "")) },
		"format":       func(r *run, s string, a *given) any { return r.Braces(s, a.values, a.named) },
	}
}
