package shaders

import (
	"strings"
	"testing"
)

func TestExpand(t *testing.T) {
	for _, c := range []struct {
		name, text string
		params     map[string]any
		want       string
	}{
		{"defaults stay", "const WG: u32 = 64u; //@param\nx", nil, "const WG: u32 = 64u; //@param\nx"},
		{"u32", "const WG: u32 = 64u; //@param", map[string]any{"WG": 128}, "const WG: u32 = 128u; "},
		{"f32", "const S: f32 = 1.0; //@param", map[string]any{"S": 2}, "const S: f32 = 2.0; "},
		{"f32 with exponent", "const S: f32 = 1.0; //@param", map[string]any{"S": 1e-9}, "const S: f32 = 1e-09; "},
		{"bool", "const A = false; //@param", map[string]any{"A": true}, "const A = true; "},
		{"type", "alias Elem = f32; //@param", map[string]any{"Elem": "vec4f"}, "alias Elem = vec4f; "},
		{"if kept", "const A = true; //@param\nx; //@if A\ny; //@if !A", nil, "const A = true; //@param\nx; "},
		{"if dropped", "const A = true; //@param\nx; //@if A\ny; //@if !A", map[string]any{"A": false}, "const A = false; \ny; "},
		{"unroll", "const N: u32 = 2u; //@param\nfor (var i = 0u; i < N; i++) { //@unroll\na[i];\n} //@end\nz", nil,
			"const N: u32 = 2u; //@param\n{ const i = 0u;\na[i];\n}\n{ const i = 1u;\na[i];\n}\nz"},
		{"unroll by a step to an expression", "const N: u32 = 2u; //@param\nfor (var i = 1u; i < 2u * N + 1u; i += N) { //@unroll\na;\n} //@end", map[string]any{"N": 3},
			"const N: u32 = 3u; \n{ const i = 1u;\na;\n}\n{ const i = 4u;\na;\n}"},
		{"unroll inside another", "for (var i = 0u; i < 2u; i++) { //@unroll\nfor (var j = 0u; j < 1u; j++) { //@unroll\na;\n} //@end\n} //@end", nil,
			"{ const i = 0u;\n{ const j = 0u;\na;\n}\n}\n{ const i = 1u;\n{ const j = 0u;\na;\n}\n}"},
		{"no turns", "for (var i = 0u; i < 0u; i++) { //@unroll\na;\n} //@end\nb", nil, "b"},
	} {
		got, err := Expand(c.text, c.params)
		if err != nil || got != c.want {
			t.Errorf("%s: %q, %v; want %q", c.name, got, err, c.want)
		}
	}
}

func TestExpandRefuses(t *testing.T) {
	const loop = "for (var i = 0u; i < %; i++) { //@unroll\na;\n"
	with := func(bound, end string) string { return strings.Replace(loop, "%", bound, 1) + end }
	for _, c := range []struct {
		text   string
		params map[string]any
		part   string
	}{
		{"x", map[string]any{"WG": 1}, "WG"},
		{"//@import nothing", nil, "lib/nothing.wgsl"},
		{with("2u", ""), nil, "without //@end"},
		{"} //@end", nil, "without //@unroll"},
		{with("M", "} //@end"), nil, `"M"`},
		{with("2u / 0u", "} //@end"), nil, "division by zero"},
		{with("99999u", "} //@end"), nil, "turns"},
		{"while (true) { //@unroll\n} //@end", nil, "cannot read the loop"},
	} {
		if _, err := Expand(c.text, c.params); err == nil || !strings.Contains(err.Error(), c.part) {
			t.Errorf("%q: error %v, want one that says %q", c.text, err, c.part)
		}
	}
	if _, err := Source("nothing", nil); err == nil || !strings.Contains(err.Error(), "nothing.wgsl") {
		t.Errorf("no such file: %v", err)
	}
}

// Every file expands at its defaults, and a part that two others import is pasted once.
func TestSources(t *testing.T) {
	for _, name := range Names() {
		text, err := Source(name, nil)
		if err != nil {
			t.Error(err)
			continue
		}
		if strings.Contains(text, "//@import") || strings.Contains(text, "//@unroll") || strings.Contains(text, "//@end") {
			t.Errorf("%s.wgsl: marked lines are left", name)
		}
		seen := map[string]bool{}
		for line := range strings.Lines(text) {
			if fn, ok := strings.CutPrefix(line, "fn "); ok {
				fn, _, _ = strings.Cut(fn, "(")
				if seen[fn] {
					t.Errorf("%s.wgsl: fn %s is there twice", name, fn)
				}
				seen[fn] = true
			}
		}
	}
}
