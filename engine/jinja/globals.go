package jinja

import (
	"fmt"
	"strings"
	"time"

	"llamatab/engine/jinja/python"
)

// globals are what every template may call.
var globals = map[string]any{
	"range":           &function{"range", makeRange},
	"dict":            &function{"dict", makeDict},
	"namespace":       &function{"namespace", func(r *run, a *given) any { return &namespace{makeDict(r, a).(*python.Dict)} }},
	"cycler":          &function{"cycler", makeCycler},
	"joiner":          &function{"joiner", makeJoiner},
	"raise_exception": &function{"raise_exception", raise},
	"strftime_now":    &function{"strftime_now", formatNow},
}

func raise(r *run, a *given) any {
	panic(&python.Error{Text: r.Str(a.must(0, "message")), Raised: true})
}

func makeRange(r *run, a *given) any {
	from, to, step := int64(0), a.integer(0, "stop", 0), int64(1)
	if len(a.values) > 1 {
		from, to, step = to, a.integer(1, "stop", 0), a.integer(2, "step", 1)
	}
	a.none(3)
	if len(a.values) == 0 || step == 0 {
		python.Failf("range wants an end, and a step other than 0")
	}
	n := rangeLength(from, to, step)
	if n > maxRange {
		panic(&python.Error{Line: r.line, Text: fmt.Sprintf("range has more than %d elements", maxRange), Limit: true})
	}
	r.Alloc(24 * int(n))
	l := &python.List{Items: make([]any, n)}
	for i := range l.Items {
		l.Items[i] = from + int64(i)*step
	}
	return l
}

// rangeLength is the number of elements of a range. It counts without sign, as the distance of two integers may be larger than
// one.
func rangeLength(from, to, step int64) uint64 {
	width, stride := uint64(to)-uint64(from), uint64(step)
	if step < 0 {
		from, to = to, from
		width, stride = -width, -stride
	}
	if from >= to {
		return 0
	}
	return (width-1)/stride + 1
}

func makeDict(r *run, a *given) any {
	d := python.NewDict()
	for _, v := range a.values {
		if from, ok := v.(*python.Dict); ok {
			for _, key := range from.Keys() {
				d.Set(key, at(from, key))
			}
			continue
		}
		for _, pair := range r.Items(v) {
			kv := r.Items(pair)
			if len(kv) != 2 {
				python.Failf("dict wants pairs of key and value")
			}
			d.Set(kv[0], kv[1])
		}
	}
	for _, name := range a.order {
		d.Set(name, a.named[name])
	}
	r.Alloc(64 * len(d.Keys()))
	return d
}

func makeCycler(r *run, a *given) any {
	if len(a.values) == 0 {
		python.Failf("cycler wants values")
	}
	at := 0
	d := python.NewDict("current", a.values[0])
	turn := func(to int) {
		at = to % len(a.values)
		d.Set("current", a.values[at])
	}
	d.Set("next", &function{"cycler.next", func(*run, *given) any {
		v := a.values[at]
		turn(at + 1)
		return v
	}})
	d.Set("reset", &function{"cycler.reset", func(*run, *given) any {
		turn(0)
		return nil
	}})
	return &namespace{d}
}

func makeJoiner(r *run, a *given) any {
	separator, used := a.or(0, "sep", ", "), false
	return &function{"joiner", func(*run, *given) any {
		if !used {
			used = true
			return ""
		}
		return separator
	}}
}

func formatNow(r *run, a *given) any {
	if r.now.IsZero() {
		python.Failf("the template asks for the date, and none was given")
	}
	s := strftime(r.now, r.Str(a.must(0, "format")))
	r.Alloc(len(s))
	return s
}

// strftime formats a time as Python does in the C locale.
func strftime(t time.Time, format string) string {
	layouts := map[byte]string{
		'a': "Mon", 'A': "Monday", 'b': "Jan", 'B': "January", 'd': "02", 'H': "15", 'I': "03", 'm': "01", 'M': "04", 'p': "PM", 'S': "05",
		'y': "06", 'Y': "2006", 'z': "-0700", 'Z': "MST", 'c': "Mon Jan _2 15:04:05 2006", 'x': "01/02/06", 'X': "15:04:05", 'F': "2006-01-02",
		'T': "15:04:05", 'D': "01/02/06", 'e': "_2", 'h': "Jan", 'R': "15:04", 'r': "03:04:05 PM",
	}
	unpadded := map[byte]string{'d': "2", 'm': "1", 'I': "3", 'M': "4", 'S': "5"}
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		switch c := format[i]; {
		case c == '%':
			b.WriteByte('%')
		case c == 'j':
			fmt.Fprintf(&b, "%03d", t.YearDay())
		case c == 'f':
			fmt.Fprintf(&b, "%06d", t.Nanosecond()/1000)
		case c == 's':
			fmt.Fprintf(&b, "%d", t.Unix())
		case c == 'n':
			b.WriteByte('\n')
		case c == 't':
			b.WriteByte('\t')
		case c == 'u':
			fmt.Fprintf(&b, "%d", (int(t.Weekday())+6)%7+1)
		case c == 'w':
			fmt.Fprintf(&b, "%d", int(t.Weekday()))
		case c == '-' && i+1 < len(format) && format[i+1] == 'H':
			fmt.Fprintf(&b, "%d", t.Hour())
			i++
		case c == '-' && i+1 < len(format) && unpadded[format[i+1]] != "":
			b.WriteString(t.Format(unpadded[format[i+1]]))
			i++
		case layouts[c] != "":
			b.WriteString(t.Format(layouts[c]))
		default:
			b.WriteString(format[i-1 : i+1])
		}
	}
	return b.String()
}
