package pretrained

import (
	"strings"
	"testing"
)

// TestSpelledOtherwise: where all names of a file differ in one way from those that are wanted, the message names the way.
func TestSpelledOtherwise(t *testing.T) {
	wanted := []string{"model.layers.0.q_proj.lora_A.weight", "model.layers.0.q_proj.lora_B.weight", "model.layers.1.q_proj.lora_A.weight", "model.layers.1.q_proj.lora_B.weight"}
	for _, c := range []struct {
		name, from, to string
		want           string // "" where each tensor is listed
	}{
		{"another beginning", "model.", "transformer.", `all 4 names of its tensors have "transformer" in place of "model": rename "transformer.layers.0.q_proj.lora_A.weight" to "model.layers.0.q_proj.lora_A.weight"`},
		{"a beginning too much", "model.", "net.model.", `have an extra "net.": rename`},
		{"a beginning too little", "model.", "", `have no "model.": rename`},
		{"another name in the middle", "q_proj", "query", `"uery" in place of "_proj"`},
		{"two other names", "lora_A,lora_B", "lora_down,lora_up", `"down" in place of "A" and "up" in place of "B"`},
		{"an ending too little", ".weight", "", `have no ".weight": rename`},
		{"only some names", "layers.1.", "layers.7.", ""},
	} {
		var have []string
		from, to := strings.Split(c.from, ","), strings.Split(c.to, ",")
		for _, w := range wanted {
			for i := range from {
				w = strings.Replace(w, from[i], to[i], 1)
			}
			have = append(have, w)
		}
		var m misfits
		m.whole = "this adapter"
		m.wanted = len(wanted)
		for i, w := range wanted {
			if have[i] != w {
				m.missing, m.extra = append(m.missing, w), append(m.extra, have[i])
			}
		}
		got := m.message()
		if c.want != "" && !strings.Contains(got, c.want) {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if c.want == "" && !(strings.Contains(got, `"model.layers.1.q_proj.lora_B.weight" is missing`) && strings.Contains(got, `"model.layers.7.q_proj.lora_A.weight" is not part of this adapter`)) {
			t.Errorf("%s: %s", c.name, got)
		}
	}
	// Other files than those of this model have each tensor listed.
	m := misfits{whole: "the model", wanted: 4, missing: wanted, extra: []string{"a.b", "wte.weight", "h.0.attn.weight", "x"}}
	if got := m.message(); !strings.Contains(got, `"wte.weight" is not part of the model`) {
		t.Errorf("another model: %s", got)
	}
	if got := (&misfits{wanted: 3}).message(); got != "" {
		t.Errorf("no difference: %s", got)
	}
}
