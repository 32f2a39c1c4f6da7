package jinja

import (
	"strings"

	"llamatab/engine/jinja/python"
)

// tests by their names.
var tests map[string]func(r *run, v any, a *given) bool

func init() {
	compares := func(operator string) func(r *run, v any, a *given) bool {
		return func(r *run, v any, a *given) bool { return r.Holds(operator, v, a.must(0, "other")) }
	}
	kinds := func(names ...string) func(r *run, v any, a *given) bool {
		return func(r *run, v any, a *given) bool {
			a.none(0)
			for _, name := range names {
				if python.KindOf(v) == name {
					return true
				}
			}
			return false
		}
	}
	texts := func(f func(string) string) func(r *run, v any, a *given) bool {
		return func(r *run, v any, a *given) bool {
			s := r.Str(v)
			return f(s) == s && strings.ToLower(s) != strings.ToUpper(s)
		}
	}
	isBool := func(want bool) func(r *run, v any, a *given) bool {
		return func(r *run, v any, a *given) bool { b, ok := v.(bool); return ok && b == want }
	}
	modulo := func(by, rest int64) func(r *run, v any, a *given) bool {
		return func(r *run, v any, a *given) bool {
			by := by
			if by == 0 {
				by = a.integer(0, "num", 0)
			}
			return r.Equal(r.Calculate("%", v, by), rest)
		}
	}
	tests = map[string]func(r *run, v any, a *given) bool{
		"defined":   func(r *run, v any, a *given) bool { return python.KindOf(v) != "undefined" },
		"undefined": kinds("undefined"), "none": kinds("None"), "boolean": kinds("bool"), "true": isBool(true), "false": isBool(false),
		"integer": kinds("int"), "float": kinds("float"), "number": kinds("int", "float", "bool"), "string": kinds("str"), "mapping": kinds("dict"),
		"sequence": kinds("str", "list", "tuple", "dict", "undefined"), "iterable": kinds("str", "list", "tuple", "dict", "undefined"),
		"callable": kinds("function"), "odd": modulo(2, 1), "even": modulo(2, 0), "divisibleby": modulo(0, 0),
		"upper": texts(strings.ToUpper), "lower": texts(strings.ToLower),
		"eq": compares("=="), "equalto": compares("=="), "==": compares("=="), "ne": compares("!="), "!=": compares("!="),
		"gt": compares(">"), "greaterthan": compares(">"), ">": compares(">"), "ge": compares(">="), ">=": compares(">="),
		"lt": compares("<"), "lessthan": compares("<"), "<": compares("<"), "le": compares("<="), "<=": compares("<="), "in": compares("in"),
		"sameas": func(r *run, v any, a *given) bool {
			o := a.must(0, "other")
			return python.KindOf(v) == python.KindOf(o) && sameObject(v, o)
		},
		"filter": func(r *run, v any, a *given) bool { s, ok := v.(string); return ok && filters[s] != nil },
		"test":   func(r *run, v any, a *given) bool { s, ok := v.(string); return ok && tests[s] != nil },
	}
}

// sameObject is Python's is.
func sameObject(a, b any) bool { return a == b }
