package llama

import (
	"math"
	"strings"
	"testing"
)

func TestRope(t *testing.T) {
	const llama3 = `{"rope_type": "llama3", "factor": 32, "low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 8192`
	small := base + `, "head_dim": 64, `
	// Frequencies of Llama-3.2-1B as transformers computes them.
	want := map[int]float64{0: 1, 1: 0.663601238, 13: 0.00483942135, 14: 0.00321144599, 15: 0.00129054793, 16: 0.000429556797,
		17: 9.7082878e-05, 18: 1.94616382e-05, 31: 9.41830673e-08}
	for _, keys := range []string{
		`"rope_theta": 500000, "rope_scaling": ` + llama3 + `}}`,
		`"rope_theta": 1, "rope_parameters": ` + llama3 + `, "rope_theta": 500000}}`,
	} {
		d, err := build(small + keys)
		if err != nil {
			t.Fatal(err)
		}
		if len(d.InvFreq) != 32 {
			t.Fatalf("%d frequencies", len(d.InvFreq))
		}
		for j, w := range want {
			if math.Abs(d.InvFreq[j]-w) > 1e-6*w {
				t.Errorf("frequency %d is %.9g, want %.9g", j, d.InvFreq[j], w)
			}
		}
	}
	plain, err := build(small + `"rope_theta": 100}`)
	if err != nil {
		t.Fatal(err)
	}
	linear, err := build(small + `"rope_theta": 100, "rope_scaling": {"type": "linear", "factor": 4}}`)
	if err != nil {
		t.Fatal(err)
	}
	for j := range plain.InvFreq {
		if w := math.Pow(100, -float64(j)/32); math.Abs(plain.InvFreq[j]-w) > 1e-12 || math.Abs(linear.InvFreq[j]-w/4) > 1e-12 {
			t.Errorf("frequency %d: %v, linear %v, want %v and a quarter of it", j, plain.InvFreq[j], linear.InvFreq[j], w)
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(base + "}"))
	f.Add([]byte(base + `, "rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 64}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseConfig(data)
		if err != nil {
			return
		}
		rope, _, err := c.Rope()
		if err != nil {
			return
		}
		if len(rope.InvFreq) != *c.HeadDim/2 || rope.MaxPositions < 1 || !(rope.Scale > 0) {
			t.Fatalf("%d frequencies of %d, scale %v, %d positions", len(rope.InvFreq), *c.HeadDim/2, rope.Scale, rope.MaxPositions)
		}
		for _, f := range rope.InvFreq {
			if math.IsNaN(f) || f < 0 {
				t.Fatalf("frequency %v", f)
			}
		}
	})
}

// TestRopeRule holds the one rule for base and scaling against what transformers 5 resolves for the same keys.
func TestRopeRule(t *testing.T) {
	const small = base + `, "head_dim": 8, `
	plain := func(theta float64) (f []float64) {
		for j := range 4 {
			f = append(f, math.Pow(theta, -float64(j)/4))
		}
		return f
	}
	// llama3 with factor 8 and 1, 4 around the original length: kept, blended or divided, as the docstring says.
	llama3 := func(theta, original float64) []float64 {
		f := plain(theta)
		for j, x := range f {
			if turns := original * x / (2 * math.Pi); turns <= 1 {
				f[j] = x / 8
			} else if turns < 4 {
				m := (turns - 1) / 3
				f[j] = (1-m)*x/8 + m*x
			}
		}
		return f
	}
	const scaled = `"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4`
	for _, c := range []struct {
		name, keys string
		want       []float64
		remarks    string // the codes, in order
	}{
		{"nothing", `"x": 1`, plain(10000), ""},
		{"theta outside", `"rope_theta": 500`, plain(500), ""},
		{"theta null", `"rope_theta": null`, plain(10000), ""},
		{"theta inside rope_scaling", `"rope_scaling": {"rope_type": "default", "rope_theta": 500}`, plain(500), ""},
		{"theta inside rope_scaling without a type", `"rope_scaling": {"rope_theta": 500}`, plain(500), ""},
		{"theta inside rope_parameters", `"rope_parameters": {"rope_type": "default", "rope_theta": 500}`, plain(500), ""},
		{"theta inside beats the one outside", `"rope_theta": 7, "rope_scaling": {"rope_theta": 500}`, plain(500), "rope_places"},
		{"theta twice alike", `"rope_theta": 500, "rope_parameters": {"rope_theta": 500.0}`, plain(500), ""},
		{"theta outside, scaling inside", `"rope_theta": 500, "rope_scaling": {"type": "linear", "factor": 1}`, plain(500), ""},
		{"theta inside with a scaling", `"rope_scaling": {` + scaled + `, "rope_theta": 500, "original_max_position_embeddings": 16}`, llama3(500, 16), ""},
		{"rope_scaling before rope_parameters", `"rope_theta": 500, "rope_scaling": {` + scaled + `, "original_max_position_embeddings": 16}, "rope_parameters": {"rope_type": "default"}`, llama3(500, 16), "rope_places"},
		{"an empty rope_scaling is none", `"rope_scaling": {}, "rope_parameters": {"rope_theta": 500}`, plain(500), ""},
		{"a null rope_scaling is none", `"rope_scaling": null, "rope_parameters": {"rope_theta": 500}`, plain(500), ""},
		{"both alike", `"rope_scaling": {"rope_theta": 500, "type": "default"}, "rope_parameters": {"type": "default", "rope_theta": 500}`, plain(500), ""},
		{"theta of the dictionary that does not count", `"rope_scaling": {"type": "default"}, "rope_parameters": {"rope_theta": 500}`, plain(10000), "rope_places"},
		{"rope_type before type", `"rope_scaling": {"type": "linear", "rope_type": "default", "factor": 4}`, plain(10000), "rope_places rope_key_unused"},
		{"no original length", `"rope_scaling": {` + scaled + `}`, llama3(10000, 32), ""},
		{"a null original length", `"rope_scaling": {` + scaled + `, "original_max_position_embeddings": null}`, llama3(10000, 32), ""},
		{"original length outside", `"original_max_position_embeddings": 16, "rope_scaling": {` + scaled + `}`, llama3(10000, 16), ""},
		{"original length outside beats the one inside", `"original_max_position_embeddings": 16, "rope_scaling": {` + scaled + `, "original_max_position_embeddings": 8}`, llama3(10000, 16), "rope_places"},
		{"dynamic up to the context", `"rope_scaling": {"type": "dynamic", "factor": 4}`, plain(10000), ""},
		{"a key of another type", `"rope_scaling": {"type": "linear", "factor": 1, "beta_fast": 3}`, plain(10000), "rope_key_unused"},
		{"all of a head is rotated", `"partial_rotary_factor": 1.0`, plain(10000), ""},
	} {
		config, err := ParseConfig([]byte(small + c.keys + "}"))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		rope, remarks, err := config.Rope()
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		for j, w := range c.want {
			if math.Abs(rope.InvFreq[j]-w) > 1e-12*w {
				t.Errorf("%s: frequency %d is %v, want %v", c.name, j, rope.InvFreq[j], w)
			}
		}
		var codes []string
		for _, r := range remarks {
			codes = append(codes, r.Code)
		}
		if got := strings.Join(codes, " "); got != c.remarks {
			t.Errorf("%s: remarks %q, want %q: %v", c.name, got, c.remarks, remarks)
		}
		if rope.Scale != 1 || rope.MaxPositions != 32 {
			t.Errorf("%s: scale %v, %d positions", c.name, rope.Scale, rope.MaxPositions)
		}
	}
}

func TestRopeRefused(t *testing.T) {
	for keys, part := range map[string]string{
		`"rope_scaling": "linear"`:                                                             "rope_scaling is not an object",
		`"rope_scaling": {"factor": "4", "type": "linear"}`:                                    "factor",
		`"rope_scaling": {"rope_theta": 0}`:                                                    "rope_theta is 0",
		`"rope_scaling": {"type": "mrope", "mrope_section": [1]}`:                              `"mrope"`,
		`"rope_scaling": {"type": "default", "mrope_section": [1]}`:                            "mrope_section",
		`"rope_parameters": {"full_attention": {"rope_theta": 5}}`:                             "full_attention",
		`"partial_rotary_factor": 0.5`:                                                         "partial_rotary_factor 0.5",
		`"rope_parameters": {"partial_rotary_factor": 0.5}`:                                    "partial_rotary_factor 0.5",
		`"rope_scaling": {"type": "longrope", "factor": 2}`:                                    "short_factor has 0 numbers",
		`"rope_scaling": {"type": "longrope", "short_factor": [1, 1, 0, 1]}`:                   "short_factor[2]",
		`"rope_scaling": {"type": "yarn", "factor": 2, "attention_factor": -1}`:                "attention factor",
		`"rope_scaling": {"type": "yarn", "factor": 2, "beta_fast": 1, "beta_slow": 2}`:        "beta_slow",
		`"original_max_position_embeddings": 0, "rope_scaling": {"type": "yarn", "factor": 2}`: "original_max_position_embeddings",
	} {
		if _, err := build(base + `, "head_dim": 8, ` + keys + "}"); err == nil || !strings.Contains(err.Error(), part) || !strings.Contains(err.Error(), "config.json") {
			t.Errorf("%s: error %v, want one that says %q", keys, err, part)
		}
	}
}
