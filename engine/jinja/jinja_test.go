package jinja

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// values are what the templates of the tests see.
func values(t testing.TB, json string) map[string]any {
	t.Helper()
	v, err := FromJSON([]byte(json))
	if err != nil {
		t.Fatal(err)
	}
	d := v.(*Dict)
	m := map[string]any{}
	for _, key := range d.Keys() {
		m[key.(string)] = at(d, key)
	}
	return m
}

const conversation = `{"messages": [{"role": "user", "content": "hi <é>"}, {"role": "assistant", "content": null, "n": 1.0, "k": 3}],
	"tools": [{"type": "function", "Z": "<&>", "a": [1, 2.50, true, null]}], "bos_token": "<s>", "add_generation_prompt": true}`

func render(t testing.TB, source string, vars map[string]any) (string, error) {
	t.Helper()
	tpl, err := Parse(source)
	if err != nil {
		return "", err
	}
	res, err := tpl.Render(vars, Options{Now: time.Date(2024, 7, 6, 5, 4, 3, 0, time.UTC)})
	return res.Text, err
}

// TestValues holds expressions against what Jinja 3.1 on Python 3 prints for them.
func TestValues(t *testing.T) {
	vars := values(t, conversation)
	for source, want := range map[string]string{
		`{{ none }}|{{ true }}|{{ 1.0 }}|{{ 7 // -2 }}|{{ -7 % 3 }}|{{ 7 / 2 }}`:                     "None|True|1.0|-4|2|3.5",
		`{{ 1e16 }}|{{ 1e15 }}|{{ 0.0001 }}|{{ 0.00001 }}|{{ 1.5e300 }}|{{ 2 ** 10 }}|{{ 2 ** -1 }}`: "1e+16|1000000000000000.0|0.0001|1e-05|1.5e+300|1024|0.5",
		`{{ [1, 'x', "it's", none, (1,), (1, 2), {'a': 1}] }}`:                                       `[1, 'x', "it's", None, (1,), (1, 2), {'a': 1}]`,
		`{{ 'a' ~ 1 ~ none }}|{{ 'a' 'b' }}|{{ 'a\n\x41\u00e9\'' }}`:                                 "a1None|ab|a\nAé'",
		`{{ {'b': {'z': 1, 'a': '<é&>\n"'}, 'a': []}|tojson }}`:                                      `{"b": {"z": 1, "a": "<é&>\n\""}, "a": []}`,
		`{{ {'b': [1, {}], 'a': []}|tojson(indent=2) }}`:                                             "{\n  \"b\": [\n    1,\n    {}\n  ],\n  \"a\": []\n}",
		`{{ {'b': 1, 'a': 'é'}|tojson(ensure_ascii=true, sort_keys=true, separators=(',', ':')) }}`:  `{"a":"\u00e9","b":1}`,
		`{{ tools|tojson }}`: `[{"type": "function", "Z": "<&>", "a": [1, 2.5, true, null]}]`,
		`{{ x }}|{{ x is defined }}|{{ messages[0].nope }}|{{ messages[9] }}|{{ x|default('d') }}|{{ ''|default('d') }}|{{ ''|default('d', true) }}`:                  "|False|||d||d",
		`{{ 'abc'[::-1] }}|{{ [1,2,3][-2:] }}|{{ 'abc'[5:] }}|{{ [1,2,3][-9:2] }}|{{ 'héé'[1] }}|{{ 'héé'[-1] }}|{{ 'abcdef'[4:1:-2] }}`:                              "cba|[2, 3]||[1, 2]|é|é|ec",
		`{{ 'a,b,c'.split(',', 1) }}|{{ ' x  y '.split() }}|{{ 'a b c'.rsplit(' ', 1) }}|{{ 'a b c'.split(none, 1) }}`:                                                "['a', 'b,c']|['x', 'y']|['a b', 'c']|['a', 'b c']",
		`{{ ' x '.strip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'xa'.lstrip('x') }}|{{ 'ax\n'.rstrip() }}|{{ ' a '|trim }}|`:                                                 "x|a|a|ax|a|",
		`{{ 1 < 2 < 3 }}|{{ 3 > 2 > 2 }}|{{ 'b' < 'a' }}|{{ 1 == 1.0 }}|{{ 1 == true }}|{{ [1] == [1.0] }}|{{ 'a' == none }}`:                                         "True|False|False|True|True|True|False",
		`{{ 'a' if false }}|{{ 'a' if x else 'b' }}|{{ not x }}|{{ x or 'y' }}|{{ 0 and 1 }}`:                                                                         "|b|True|y|0",
		`{{ [1,2]|map('string')|join('-') }}|{{ [{'a':1},{'b':2}]|selectattr('a','defined')|list|length }}|{{ [3,1,2]|sort|first }}`:                                  "1-2|1|1",
		`{{ messages|map(attribute='role')|join(',') }}|{{ messages|rejectattr('role', 'equalto', 'user')|map(attribute='k')|list }}`:                                 "user,assistant|[3]",
		`{{ {'a': 1}.get('b', 'd') }}|{{ 'k' in {'k':1} }}|{{ "%s-%03d %.2f%%" | format(1, 2, 3) }}|{{ 'x%s' % 'y' }}`:                                                "d|True|1-002 3.00%|xy",
		`{{ 3 * 'x' }}|{{ 'x' * -1 }}|{{ [1] * 2 }}|{{ [1] + [2] }}`:                                                                                                  "xxx||[1, 1]|[1, 2]",
		`{{ messages[0].content is string }}{{ messages is sequence }}{{ messages[0] is mapping }}{{ 'a' is iterable }}{{ 3 is divisibleby 3 }}`:                      "TrueTrueTrueTrueTrue",
		`{{ 'a' is in ['a'] }}|{{ 4 is not odd }}|{{ messages[1].content is none }}|{{ true is boolean }}|{{ 1 is number and 1 is integer }}`:                         "True|True|True|True|True",
		`{{ -1|abs }}|{{ (-1)|abs }}|{{ 2.5|round }}|{{ 3.14159|round(2) }}|{{ '12'|int + 1 }}|{{ 'x'|int(7) }}|{{ '1.5'|float }}`:                                    "1|1|2.0|3.14|13|7|1.5",
		`{{ 'hello world'|title }}|{{ 'hELLO'|capitalize }}|{{ 'a\nb'|indent(2) }}|{{ 'a\n\nb'|indent(1, true) }}`:                                                    "Hello World|Hello|a\n  b| a\n\n b",
		`{{ range(9223372036854775806, 9223372036854775807)|list }}|{{ range(0, 9223372036854775807, 9223372036854775806)|list|length }}|{{ range(5, -9, -7)|list }}`: "[9223372036854775806]|2|[5, -2]",
		`{{ '%10s|%-10s|%.10s|%03d' % ('a', 'b', 'abcdefghijkl', 7) }}`:                                                                                               "         a|b         |abcdefghij|007",
		`{{ 42|round }}|{{ 42.5|round }}|{{ 42|round(1, 'floor') }}`:                                                                                                  "42|42.0|42.0",
		`{{ range(3)|list }}|{{ range(1, 7, 3)|list }}|{{ range(3, 0, -1)|list }}`:                                                                                    "[0, 1, 2]|[1, 4]|[3, 2, 1]",
		`{{ {'b': 1, 'A': 2}|dictsort }}|{{ {'b': 1}|items|list }}|{{ {'a': 1, **{}} if false else 1 }}`:                                                              "",
		`{{ strftime_now('%d %b %Y %H:%M %A %-d %j %%') }}`:                                                                                                           "06 Jul 2024 05:04 Saturday 6 188 %",
		`{{ 'x'.join(['a', 'b']) }}|{{ 'abc'.find('c') }}|{{ 'abc'.replace('b', 'xx') }}|{{ 'a-b'.partition('-') }}|{{ '{} {0} {k}'.format('a', k=1) }}`:              "axb|2|axxc|('a', '-', 'b')|a a 1",
		`{{ [1,2,3,4,5]|batch(2)|list }}|{{ [1,2,2,1]|unique|list }}|{{ [1,5,3]|max }}|{{ [1,2]|sum }}|{{ 'abc'|reverse }}|{{ [1,2]|last }}`:                          "[[1, 2], [3, 4], [5]]|[1, 2]|5|3|cba|2",
		`{{ "a" ~ 'b' | upper }}|{{ not 1 is none }}|{{ 2 + 3 * 4 - 1 }}|{{ (2 + 3) * 4 }}`:                                                                           "aB|True|13|20",
	} {
		got, err := render(t, source, vars)
		if want == "" {
			if err == nil {
				t.Errorf("%s: got %q, want an error", source, got)
			}
		} else if err != nil || got != want {
			t.Errorf("%s:\n got %q, %v\nwant %q", source, got, err, want)
		}
	}
}

// TestStatements holds tags, scopes and white space against what Jinja 3.1 renders with trim_blocks and lstrip_blocks.
func TestStatements(t *testing.T) {
	vars := values(t, conversation)
	for source, want := range map[string]string{
		"{% if true %}\n  x\n{% endif %}\n  {% if true %}\n y\n  {% endif %}\nz\n": "  x\n y\nz",
		"a {% if true %} b {% endif %}\n{# c #}\n  {#- d -#}  \n e":                "a  b e",
		"a\n  {{- 1 -}}  \n b {%+ if true %}x{% endif +%}\ny":                      "a1b x\ny",
		"a\n\n": "a\n",
		"{% raw %}{{ x }}{% endraw %}|{%- raw -%}  {% y  {%- endraw -%} z":                                                                                 "{{ x }}|{% yz",
		"{{ '}}' }}{{ {'a': {}}['a'] }}":                                                                                                                   "}}{}",
		`{% for i in [1,2,3] %}{% if i==2 %}{% continue %}{% endif %}{{ i }}{{ loop.last }}{% endfor %}`:                                                   "1False3True",
		`{% for i in range(9) %}{% if i==2 %}{% break %}{% endif %}{{ i }}{% else %}none{% endfor %}`:                                                      "01",
		`{% for i in [1,2,3] if i!=2 %}{{ loop.index }}/{{ loop.length }} {{ loop.previtem }} {% endfor %}`:                                                "1/2  2/2 1 ",
		`{% for i in [] %}x{% else %}none{% endfor %}{% for a, b in [[1, 2]] %}{{ a }}{{ b }}{% endfor %}`:                                                 "none12",
		`{% for k, v in messages[1].items() %}{{ k }}={{ v }};{% endfor %}{% for k in messages[1] %}{{ k }},{% endfor %}`:                                  "role=assistant;content=None;n=1.0;k=3;role,content,n,k,",
		`{% set x = 1 %}{% for i in [1,2] %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}`:                                                                 "231",
		`{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}`:                                                                                    "2",
		`{% set ns = namespace(a=1) %}{% for i in [1,2] %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}`:                                                 "4",
		`{% set a, b = [1, 2] %}{{ b }}{% set c %}x{{ a }}{% endset %}{{ c }}{% set d | upper %}q{% endset %}{{ d }}`:                                      "2x1Q",
		`{% macro f(x, y='d') %}{{ x }}{{ y }}{% endmacro %}{{ f('a') }}{{ f('a', y='b') }}{{ f(y=1, x=2) }}`:                                              "adab21",
		`{% macro f() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1, 2, k=3) }}`:                                                                         "(1, 2){'k': 3}",
		`{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}`:                                                           "3210",
		`{% macro f(x) %}<{{ caller(x) }}>{% endmacro %}{% call(y) f(1) %}{{ y + 1 }}{% endcall %}`:                                                        "<2>",
		`{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a }}`:                                                                                           "3",
		`{% filter upper | trim %} abc {% endfilter %}`:                                                                                                    "ABC",
		`{% for i in [1, [2, [3]]] recursive %}{{ loop(i) if i is iterable else i }}{{ loop.depth }}{% endfor %}`:                                          "11223321",
		`{% for m in messages %}{{ loop.cycle('a', 'b') }}{{ loop.changed(m.role) }}{{ loop.revindex0 }}{% endfor %}`:                                      "aTrue1bTrue0",
		`{{ bos_token }}{% for m in messages %}{{ loop.first and m.role or 'z' }}{% endfor %}{% if add_generation_prompt %}!{% endif %}`:                   "<s>userz!",
		`{% set j = joiner('|') %}{% for i in [1,2,3] %}{{ j() }}{{ i }}{% endfor %}{% set c = cycler(1, 2) %}{{ c.next() }}{{ c.next() }}{{ c.current }}`: "1|2|3121",
	} {
		if got, err := render(t, source, vars); err != nil || got != want {
			t.Errorf("%q:\n got %q, %v\nwant %q", source, got, err, want)
		}
	}
}

func TestGeneration(t *testing.T) {
	tpl, err := Parse("{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}\n{% generation %}\n{{ m.text }}!{% endgeneration %}\n{% endif %}{% endfor %}")
	if err != nil {
		t.Fatal(err)
	}
	res, err := tpl.Render(values(t, `{"messages": [{"role": "user"}, {"role": "assistant", "text": "é"}, {"role": "assistant", "text": "b"}]}`), Options{})
	if err != nil || res.Text != "<user><assistant>é!<assistant>b!" || len(res.Generated) != 2 {
		t.Fatalf("%+v, %v", res, err)
	}
	if a, b := res.Generated[0], res.Generated[1]; res.Text[a[0]:a[1]] != "é!" || res.Text[b[0]:b[1]] != "b!" {
		t.Fatalf("%v", res.Generated)
	}
}

// TestErrors checks that a mistake is an error with its line, where other engines print something wrong.
func TestErrors(t *testing.T) {
	vars := values(t, conversation)
	for source, want := range map[string]string{
		"\n{{ 'a' + 1 }}":                       "line 2: + cannot be used with str and int",
		"{{ x.y }}":                             `line 1: "x" is undefined`,
		"{{ messages[0].nope.more }}":           `dict has no attribute "nope"`,
		"\n\n{% for i in 3 %}{% endfor %}":      "line 3: int is no list",
		"{{ x() }}":                             `"x" is undefined`,
		"{{ 'a'() }}":                           "str cannot be called",
		"{{ 1 | nope }}":                        `there is no filter "nope"`,
		"{{ 1 is nope }}":                       `there is no test "nope"`,
		"{% if true %}":                         "the tag {% if %} has no end",
		"{% endif %}":                           "{% endif %} is not available",
		"\n{% include 'x' %}":                   "line 2: the tag {% include %} is not available in chat templates",
		"{{ 'x' @ 3 }}":                         "unexpected character '@'",
		"{{ 1":                                  "the tag does not end with }}",
		"{# x":                                  "the comment does not end",
		"{{ 'x":                                 "the string does not end",
		"{{ 1 ~ 2 + 3 }}":                       "+ cannot be used with str and int",
		"{{ (1 }}":                              "",
		"{{ raise_exception('Only ' ~ 1) }}":    "Only 1",
		"{{ messages.append(1) }}":              "append changes a list",
		"{% set messages.x = 1 %}":              "messages is no namespace",
		"{{ 1 // 0 }}":                          "division by zero",
		"{{ 'a' < 1 }}":                         "< cannot be used with str and int",
		"{{ messages|map(attribute=x)|list }}":  `"x" is undefined`,
		"{{ messages|selectattr(x)|list }}":     `"x" is undefined`,
		"{{ messages|groupby(x.y) }}":           `"x" is undefined`,
		"{{ messages|sort(attribute=nope) }}":   `"nope" is undefined`,
		"{{ messages|map(attribute=[])|list }}": "an attribute is a text, not list",
		"{{ {x: 1} }}":                          `"x" is undefined`,
		"{{ {'a': x}|tojson }}":                 "undefined cannot be written as JSON",
		"{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}": "takes 1 arguments, got 2",
		"{{ 9223372036854775807 + 1 }}":               "too large",
		"{% break %}":                                 "stands outside of a loop",
		"{{ }}":                                       "stands where a value is expected",
		"{% for a, b in [[1]] %}{% endfor %}":         "1 values for 2 names",
		"{{ [1]|map('tojson', nope=1)|list }}":        `there is no argument "nope"`,
	} {
		got, err := render(t, source, vars)
		if e, ok := errors.AsType[*Error](err); !ok || !strings.Contains(err.Error(), want) || e.Limit {
			t.Errorf("%q: got %q, %v, want the error %q", source, got, err, want)
		}
	}
	if _, err := render(t, "\n{{ raise_exception('no') }}", nil); err == nil || err.Error() != "no" || !err.(*Error).Raised {
		t.Errorf("raise_exception: %v", err)
	}
	tpl, _ := Parse("{{ strftime_now('%Y') }}")
	if _, err := tpl.Render(nil, Options{}); err == nil {
		t.Error("a date was made up")
	}
	if _, err := tpl.Render(map[string]any{"a": 1}, Options{}); err == nil {
		t.Error("an int is no value")
	}
}

// TestLimits renders templates that would hang or fill the memory. Each ends with an error that says so.
func TestLimits(t *testing.T) {
	deep := strings.Repeat("[", 400)
	for _, source := range []string{
		"{% for i in range(10**9) %}{% endfor %}",
		"{{ range(-9223372036854775807, 9223372036854775807)|list }}",
		"{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
		"{{ 'x' * 10**9 }}",
		"{{ 'x' * 10**18 }}",
		"{{ [1] * 10**18 }}",
		"{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
		"{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
		"{% set ns = namespace(s=[1]) %}{% for i in range(99) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s }}",
		"{% set ns = namespace(s=[1]) %}{% for i in range(40) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s == ns.s + [] }}{{ ns.s|tojson }}",
		"{% set ns = namespace(s='x') %}{% for i in range(40) %}{% set ns.s = ns.s.replace('x', 'xx') %}{% endfor %}",
		"{% set ns = namespace(s='x\\n') %}{% for i in range(40) %}{% set ns.s = ns.s|indent(9999999) %}{% endfor %}",
		"{{ 'x'|indent(10**12, true) }}", "{{ 'x'.ljust(10**12) }}", "{{ 'x'|center(10**12) }}", "{{ 'x'.zfill(10**12) }}",
		"{{ [1]|batch(10**12, 0)|list }}", "{{ [1]|slice(10**12)|list }}", "{{ [[1]]|tojson(indent=10**12) }}",
		"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
		"{% macro f(x) %}{{ f(x + 'y') }}{% endmacro %}{{ f('x' * 100000) }}",
		"{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
		"{% for i in range(99999) %}" + strings.Repeat("xxxxxxxxxx", 1000) + "{% endfor %}",
	} {
		_, err := render(t, source, nil)
		if e, ok := errors.AsType[*Error](err); !ok || !e.Limit {
			t.Errorf("%.80q: %v", source, err)
		}
	}
	for _, source := range []string{
		"{{ " + deep + " }}", "{{ " + strings.Repeat("(", 400), "{{ " + strings.Repeat("not ", 400) + "1 }}", "{{ 1" + strings.Repeat(" + 1", 400) + " }}",
		strings.Repeat("{% if 1 %}", 400), "{{ x" + strings.Repeat(".x", 400) + " }}", "{{ x" + strings.Repeat("|trim", 400) + " }}",
		"{{ " + strings.Repeat("-", 400) + "1 }}", strings.Repeat("x", maxSource+1), "{% for " + strings.Repeat("(", 400) + "x in y %}",
		"{{ '%9999999999d' % 1 }}", "{{ '%.9999999999f' % 1 }}",
	} {
		if _, err := render(t, source, nil); err == nil {
			t.Errorf("%.80q is accepted", source)
		}
	}
}

// FuzzRender renders whatever parses, twice. Both renderings are the same, and none panics or goes on without end.
func FuzzRender(f *testing.F) {
	for _, source := range []string{
		`{{ bos_token }}{% for m in messages %}{{ '<|' ~ m['role'] ~ '|>' }}{{ m.content | trim }}{% endfor %}`,
		`{%- set ns = namespace(x=[]) -%}{% macro f(a, b=1) %}{{ a }}{% endmacro %}{{ f(ns.x) }}`,
		`{% for k, v in tools[0].items() if k %}{{ loop.index }}{{ v | tojson(indent=2) }}{% else %}{% endfor %}`,
		`{{ 'a,b'.split(',')[-1][::-1] }}{{ "%s" % 1 }}{{ messages[1:] | length }}{{ 1 if x is defined else 2.5e3 }}`,
		`{% raw %}{{{% endraw %}{# c #}{% generation %}x{% endgeneration %}{% call f() %}{% endcall %}`,
	} {
		f.Add(source)
	}
	vars := values(f, conversation)
	f.Fuzz(func(t *testing.T, source string) {
		tpl, err := Parse(source)
		if err != nil {
			return
		}
		a, errA := tpl.Render(vars, Options{Now: time.Unix(0, 0).UTC()})
		b, errB := tpl.Render(vars, Options{Now: time.Unix(0, 0).UTC()})
		if a.Text != b.Text || (errA == nil) != (errB == nil) {
			t.Fatalf("rendered twice: %q, %v and %q, %v", a.Text, errA, b.Text, errB)
		}
		for _, g := range a.Generated {
			if g[0] < 0 || g[0] >= g[1] || g[1] > len(a.Text) {
				t.Fatalf("span %v of %d bytes", g, len(a.Text))
			}
		}
	})
}
