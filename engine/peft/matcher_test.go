package peft

import "testing"

// TestMatcher holds expressions against what Python's re.fullmatch says of them.
func TestMatcher(t *testing.T) {
	for _, c := range []struct {
		expr, path string
		want       bool
	}{
		{`.*\.q_proj`, "model.layers.0.self_attn.q_proj", true},
		{`q_proj`, "model.layers.0.self_attn.q_proj", false},
		{`.*self_attn\.(q|v)_proj`, "model.layers.0.self_attn.k_proj", false},
		{`^(?!.*mlp).*\.(q|v)_proj$`, "model.layers.0.self_attn.v_proj", true},
		{`^(?!.*layers\.0\.).*_proj$`, "model.layers.0.self_attn.v_proj", false},
		{`^(?!.*layers\.0\.).*_proj$`, "model.layers.10.self_attn.v_proj", true},
		{`.*(?<=mlp\.)up_proj`, "model.layers.3.mlp.up_proj", true},
		{`.*(?<!mlp\.)up_proj`, "model.layers.3.mlp.up_proj", false},
		{`(?=.*attn)(?=.*(q|k)_proj).*`, "model.layers.3.self_attn.k_proj", true},
		{`model\.layers\.(\d)\1\..*`, "model.layers.11.self_attn.k_proj", true},
		{`model\.layers\.(\d)\1\..*`, "model.layers.12.self_attn.k_proj", false},
		{`(?!lm_head)`, "", true},
		{`(?!x)(a|b)c\1`, "acb", false},
		{`(?!x)(?P<n>a|b)c(?P=n)`, "bcb", true},
		{`(?!x)a{2,3}?[^.b]\.\d+`, "aaac.12", true},
		{`(?=m)m(a*)*b?`, "maaa", true},
		{`(?=\w)\bq\b\.[]p]`, "q.]", true},
		{`(?:(?!head).)*`, "lm_head", false},
		{`(?P<name>model)\..*`, "model.norm", true},
	} {
		m, err := newMatcher("target_modules", "", c.expr)
		if err != nil {
			t.Errorf("%s: %v", c.expr, err)
			continue
		}
		if got := m.MatchString(c.path); got != c.want {
			t.Errorf("%s matches %q: %v, want %v", c.expr, c.path, got, c.want)
		}
	}
}
