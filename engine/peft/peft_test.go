package peft_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"llamatab/engine/config"
	"llamatab/engine/device"
	"llamatab/engine/device/cpu"
	"llamatab/engine/graph"
	"llamatab/engine/model/llama"
	"llamatab/engine/nn"
	"llamatab/engine/peft"
	"llamatab/engine/tensor"
)

func decoder(t testing.TB, tied bool) *nn.Decoder {
	t.Helper()
	d, _, err := llama.New([]byte(fmt.Sprintf(`{"vocab_size": 37, "hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 2,
		"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6, "attention_bias": true, "mlp_bias": true, "tie_word_embeddings": %v}`, tied)))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func attach(t *testing.T, d *nn.Decoder, keys string) (*peft.Method, error) {
	t.Helper()
	if keys != "" {
		keys = ", " + keys
	}
	c, err := config.Parse([]byte(`{"model": "m", "dataset": {"path": "d"}, "peft": {"peft_type": "LORA", "r": 4, "lora_alpha": 8`+keys+`}}`), "run.json")
	if err != nil {
		t.Fatal(err)
	}
	return peft.Attach(d, c.PEFT, peft.Context{})
}

// size is (in, out) of a module of the decoder, by the last segment of its path.
var size = map[string][2]int{
	"q_proj": {16, 24}, "k_proj": {16, 12}, "v_proj": {16, 12}, "o_proj": {24, 16}, "gate_proj": {16, 20}, "up_proj": {16, 20},
	"down_proj": {20, 16}, "lm_head": {16, 37},
}

func TestTargets(t *testing.T) {
	const attention, mlp = "model.layers.%d.self_attn.", "model.layers.%d.mlp."
	both := func(names ...string) (all []string) {
		for i := range 2 {
			for _, n := range names {
				where := attention
				if slices.Contains([]string{"gate_proj", "up_proj", "down_proj"}, n) {
					where = mlp
				}
				all = append(all, fmt.Sprintf(where, i)+n)
			}
		}
		return all
	}
	seven := both("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
	for _, c := range []struct {
		keys string
		want []string
	}{
		{"", both("q_proj", "v_proj")},
		{`"target_modules": ["k_proj"]`, both("k_proj")},
		{`"target_modules": ["self_attn.k_proj", "mlp.up_proj"]`, both("k_proj", "up_proj")},
		{`"target_modules": ["proj", "v_proj"]`, both("v_proj")}, // the end of a path, not of a word
		{`"target_modules": ["model.layers.1.mlp.up_proj"]`, []string{"model.layers.1.mlp.up_proj"}},
		{`"target_modules": ["lm_head", "q_proj"]`, append(both("q_proj"), "lm_head")},
		{`"target_modules": "all-linear"`, seven},
		{`"target_modules": "ALL-Linear", "exclude_modules": ["down_proj"]`, both("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj")},
		{`"target_modules": ".*\\.0\\..*(q|k)_proj"`, []string{"model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.k_proj"}},
		{`"target_modules": ["q_proj"], "exclude_modules": ".*layers\\.0.*"`, []string{"model.layers.1.self_attn.q_proj"}},
		{`"target_modules": ["q_proj", "lm_head"], "layers_to_transform": 1`, []string{"model.layers.1.self_attn.q_proj"}},
		{`"target_modules": ["q_proj"], "layers_to_transform": [0, 1], "layers_pattern": "layers"`, both("q_proj")},
	} {
		m, err := attach(t, decoder(t, false), c.keys)
		if err != nil {
			t.Errorf("%s: %v", c.keys, err)
			continue
		}
		var got []string
		for _, x := range m.Tensors() {
			path, part, ok := strings.Cut(strings.TrimPrefix(x.Key, peft.Prefix), ".lora_")
			module := size[path[strings.LastIndexByte(path, '.')+1:]]
			want := tensor.Of(4, module[0])
			if part == "B.weight" {
				want = tensor.Of(module[1], 4)
			} else {
				got = append(got, path)
			}
			if !ok || !x.Param.FileShape().Equal(want) || !x.Param.Trainable || x.Param.Name != x.Key {
				t.Errorf("%s: %s has shape %v, want %v; trainable %v", c.keys, x.Key, x.Param.FileShape(), want, x.Param.Trainable)
			}
		}
		if !slices.Equal(got, c.want) || len(m.Tensors()) != 2*len(got) {
			t.Errorf("%s: adapts %v, want %v", c.keys, got, c.want)
		}
	}
}

func TestScalesAndRanks(t *testing.T) {
	for _, c := range []struct {
		keys       string
		rank       [2]int // of v_proj in the two layers
		scale      [2]float64
		otherScale float64 // of q_proj
	}{
		{"", [2]int{4, 4}, [2]float64{2, 2}, 2},
		{`"use_rslora": true`, [2]int{4, 4}, [2]float64{4, 4}, 4},
		{`"rank_pattern": {"v_proj": 2}`, [2]int{2, 2}, [2]float64{4, 4}, 2},
		{`"rank_pattern": {"1.self_attn.v_proj": 1, "v_proj": 2}`, [2]int{2, 1}, [2]float64{4, 8}, 2}, // the first that hits
		{`"rank_pattern": {"v_proj": 2, "1.self_attn.v_proj": 1}`, [2]int{2, 2}, [2]float64{4, 4}, 2},
		{`"alpha_pattern": {"layers.0.*v_proj": 4}`, [2]int{4, 4}, [2]float64{1, 2}, 2},
		{`"rank_pattern": {"v_pro": 1, "_proj": 1}`, [2]int{4, 4}, [2]float64{2, 2}, 2}, // neither is the end after a dot
	} {
		m, err := attach(t, decoder(t, false), c.keys)
		if err != nil {
			t.Errorf("%s: %v", c.keys, err)
			continue
		}
		merges, err := m.Merges()
		if err != nil {
			t.Fatal(err)
		}
		layer := 0
		for _, x := range merges {
			want := c.otherScale
			if strings.HasSuffix(x.W.Name, "v_proj.weight") {
				want = c.scale[layer]
				if r := x.From[0].Shape[0]; r != c.rank[layer] || x.From[1].Shape[1] != r {
					t.Errorf("%s: %s has rank %d, want %d", c.keys, x.W.Name, r, c.rank[layer])
				}
				layer++
			}
			// Where A and B are all ones, each weight grows by rank times scale.
			if got := folded(t, x) / float64(x.From[0].Shape[0]); math.Abs(got-want) > 1e-6 {
				t.Errorf("%s: %s is scaled by %v, want %v", c.keys, x.W.Name, got, want)
			}
		}
	}
}

// folded is what a merge makes of the first element of a weight of zeros, with ones for the adapter.
func folded(t *testing.T, m peft.Merge) float64 {
	t.Helper()
	dev := cpu.New()
	bufs := map[any]device.Buffer{}
	fill := func(p *nn.Param, v float64) {
		b, err := dev.Alloc(device.Spec{Len: p.Shape.Size()})
		if err != nil {
			t.Fatal(err)
		}
		x := cpu.Floats(b)
		for i := range x {
			x[i] = v
		}
		bufs[p] = b
	}
	fill(m.W, 0)
	for _, p := range m.From {
		fill(p, 1)
	}
	tape := graph.NewInferenceTape()
	if err := graph.Record(func() { m.Fold(tape, m.W.Var(tape)) }); err != nil {
		t.Fatal(err)
	}
	prog, err := tape.Compile(dev, "merge", nil, graph.Binder{Extern: func(key any) (device.Slice, error) { return device.All(bufs[key]), nil }})
	if err == nil {
		err = dev.Submit(device.Work{Run: prog.Executable})
	}
	if err != nil {
		t.Fatal(err)
	}
	return cpu.Floats(bufs[m.W])[0]
}

// short lists what an adapter's file holds besides low-rank pairs of linears.
func short(m *peft.Method) (all []string) {
	for _, x := range m.Tensors() {
		if !strings.Contains(x.Key, ".lora_A.") && !strings.Contains(x.Key, ".lora_B.") {
			all = append(all, strings.TrimPrefix(x.Key, peft.Prefix)+x.Param.FileShape().String())
		}
	}
	slices.Sort(all)
	return all
}

func TestWholeTensors(t *testing.T) {
	for _, c := range []struct {
		keys string
		tied bool
		want []string
	}{
		{`"bias": "none"`, false, nil},
		{`"bias": "lora_only", "target_modules": ["v_proj"]`, false, []string{
			"model.layers.0.self_attn.v_proj.base_layer.bias(12)", "model.layers.1.self_attn.v_proj.base_layer.bias(12)"}},
		{`"modules_to_save": ["lm_head"]`, false, []string{"lm_head.weight(37, 16)"}},
		{`"modules_to_save": ["lm_head"]`, true, []string{"lm_head.weight(37, 16)"}},
		{`"modules_to_save": ["embed_tokens", "model.norm"]`, true, []string{"model.embed_tokens.weight(37, 16)", "model.norm.weight(16)"}},
		{`"modules_to_save": ["1.self_attn"], "layers_to_transform": 0`, false, []string{
			"model.layers.1.self_attn.k_proj.bias(12)", "model.layers.1.self_attn.k_proj.weight(12, 16)",
			"model.layers.1.self_attn.o_proj.bias(16)", "model.layers.1.self_attn.o_proj.weight(16, 24)",
			"model.layers.1.self_attn.q_proj.bias(24)", "model.layers.1.self_attn.q_proj.weight(24, 16)",
			"model.layers.1.self_attn.v_proj.bias(12)", "model.layers.1.self_attn.v_proj.weight(12, 16)"}},
		{`"target_modules": ["embed_tokens", "lm_head"]`, true, []string{
			"model.embed_tokens.lora_embedding_A(4, 37)", "model.embed_tokens.lora_embedding_B(16, 4)"}},
	} {
		d := decoder(t, c.tied)
		m, err := attach(t, d, c.keys)
		if err != nil {
			t.Errorf("%s: %v", c.keys, err)
			continue
		}
		got := short(m)
		for i := range got {
			got[i] = strings.ReplaceAll(got[i], ", ", ",")
		}
		want := slices.Clone(c.want)
		for i := range want {
			want[i] = strings.ReplaceAll(want[i], ", ", ",")
		}
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: holds %v, want %v", c.keys, got, want)
		}
		in := map[*nn.Param]bool{}
		for _, x := range m.Tensors() {
			in[x.Param] = true
		}
		for _, p := range d.Params() {
			if p.Trainable != in[p] {
				t.Errorf("%s: %s trains: %v, is saved: %v", c.keys, p.Name, p.Trainable, in[p])
			}
		}
		// A module that is saved whole is a copy: the other use of a tied matrix stays as it was.
		if c.tied && strings.Contains(c.keys, "modules_to_save") == d.Tied {
			t.Errorf("%s: tied is %v afterwards", c.keys, d.Tied)
		}
	}
}

func TestBiasAll(t *testing.T) {
	m, err := attach(t, decoder(t, false), `"bias": "all", "target_modules": ["q_proj"]`)
	if err != nil {
		t.Fatal(err)
	}
	base, plain := 0, 0
	for _, k := range short(m) {
		switch {
		case strings.Contains(k, "q_proj.base_layer.bias("):
			base++
		case strings.Contains(k, ".bias(") && !strings.Contains(k, "base_layer"):
			plain++
		default:
			t.Errorf("unexpected %s", k)
		}
	}
	if base != 2 || plain != 12 {
		t.Errorf("%d biases of adapted modules and %d others, want 2 and 12", base, plain)
	}
}

// The first values make the adapter a no-op, unless that is not wanted.
func TestInit(t *testing.T) {
	for _, c := range []struct {
		keys      string
		a, b      nn.Init
		embedding [2]nn.Init
	}{
		{`"init_lora_weights": true`, nn.Init{Kind: nn.Uniform, Scale: 0.25}, nn.Init{}, [2]nn.Init{{}, {Kind: nn.Normal, Scale: 1}}},
		{`"init_lora_weights": "gaussian"`, nn.Init{Kind: nn.Normal, Scale: 0.25}, nn.Init{}, [2]nn.Init{{}, {Kind: nn.Normal, Scale: 1}}},
		{`"init_lora_weights": false`, nn.Init{Kind: nn.Uniform, Scale: 0.25}, nn.Init{Kind: nn.Uniform, Scale: 0.5},
			[2]nn.Init{{Kind: nn.Normal, Scale: 1}, {Kind: nn.Normal, Scale: 1}}},
	} {
		m, err := attach(t, decoder(t, false), c.keys+`, "target_modules": ["q_proj", "embed_tokens"]`)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range m.Tensors() {
			want := c.a
			switch {
			case strings.HasSuffix(x.Key, "lora_B.weight"):
				want = c.b
			case strings.HasSuffix(x.Key, "embedding_A"):
				want = c.embedding[0]
			case strings.HasSuffix(x.Key, "embedding_B"):
				want = c.embedding[1]
			}
			if x.Param.Init != want {
				t.Errorf("%s: %s starts as %+v, want %+v", c.keys, x.Key, x.Param.Init, want)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	for keys, part := range map[string]string{
		`"target_modules": ["query"]`:                                   "model.layers.0.self_attn.q_proj",
		`"target_modules": "(q"`:                                        "regular expression",
		`"target_modules": "(?=q).*"`:                                   `target_modules "(?=q).*" matches no module`,
		`"target_modules": "(?=q"`:                                      "regular expression",
		`"target_modules": "(?=m)(.|m)*(.+)+x\\1{9}"`:                   "nested repetitions",
		`"exclude_modules": "(q"`:                                       "exclude_modules",
		`"rank_pattern": {"(": 2}`:                                      "rank_pattern",
		`"modules_to_save": ["score"]`:                                  "score",
		`"target_modules": "all-linear", "layers_to_transform": 1`:      "layers_to_transform",
		`"target_modules": ["q_proj"], "exclude_modules": ["q_proj"]`:   `target_modules ["q_proj"] matches no module`,
		`"target_modules": ["lm_head"], "modules_to_save": ["lm_head"]`: "matches no module",
	} {
		func() {
			c, err := config.Parse([]byte(`{"model": "m", "dataset": {"path": "d"}, "peft": {"peft_type": "LORA", `+keys+`}}`), "run.json")
			if err == nil { // some is refused while reading already
				_, err = peft.Attach(decoder(t, true), c.PEFT, peft.Context{})
			}
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%s: error %v, want one that says %q", keys, err, part)
			}
		}()
	}
	if _, err := peft.Attach(decoder(t, true), &config.PEFT{Type: "VERA"}, peft.Context{}); err == nil || !strings.Contains(err.Error(), "LORA") {
		t.Errorf("unknown method: %v", err)
	}
}
