package export

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"llamatab/engine/gguf"
	"llamatab/engine/nn"
	"llamatab/engine/peft"
	"llamatab/engine/pretrained"
	"llamatab/engine/tensor"
	"llamatab/engine/weights"
)

// onlyPairs are the pairs of an adapter that holds nothing else.
func onlyPairs(m *pretrained.Model) ([]peft.Pair, error) {
	if m.Method == nil {
		return nil, errors.New("there is no adapter")
	}
	pairs, err := m.Method.Pairs(m.Decoder)
	if err != nil {
		return nil, err
	}
	known := map[*nn.Param]bool{}
	for _, p := range pairs {
		known[p.A], known[p.B] = true, true
		if p.Magnitude != nil {
			known[p.Magnitude] = true
		}
	}
	for _, t := range m.AdapterTensors() {
		if !known[t.Param] {
			return nil, fmt.Errorf("the adapter also holds %s", t.Key)
		}
	}
	if m.Decoder.Added != nil || m.Decoder.Classes > 0 {
		return nil, errors.New("the adapter has a head of its own")
	}
	return pairs, nil
}

// Adapter is a plan of an adapter in the form of another program.
type Adapter struct {
	File string // with the tensors
	o    Options

	model *pretrained.Model
	pairs []peft.Pair
	about card

	keys    []gguf.KeyValue // of GGUF
	tensors []ggufTensor
	alpha   float64
}

// PlanLoRA plans a GGUF file with a LoRA adapter, which llama.cpp applies to its base model: y += (alpha/rank)·B·A·x, with one alpha for
// the file and the rank of each pair. It is an error, which names the reason, if the adapter is more than that.
func PlanLoRA(m *pretrained.Model, o Options) (*Adapter, error) {
	arch, err := architecture(m.Decoder, m.Config)
	if err != nil {
		return nil, err
	}
	pairs, err := onlyPairs(m)
	if err != nil {
		return nil, err
	}
	a := &Adapter{o: o, model: m, pairs: pairs, about: readCard(m), File: fileStem(o.Name) + "-lora.gguf"}
	scale, rank := commonScale(pairs)
	a.alpha = scale * float64(rank)
	names := ggufNames(m.Decoder, arch)
	for _, p := range pairs {
		if p.Magnitude != nil {
			return nil, errors.New("a GGUF adapter has no magnitudes of DoRA")
		}
		t, ok := names[p.Module.Weight]
		if !ok || p.Module == m.Decoder.Head && m.Decoder.Tied {
			return nil, errors.New("a GGUF adapter cannot change the output head of a model that shares it with the embedding")
		}
		a.tensors = append(a.tensors,
			ggufTensor{Spec: gguf.Spec{Name: t.Name + ".lora_a", Shape: p.A.Shape, Type: gguf.F32}, param: p.A},
			ggufTensor{Spec: gguf.Spec{Name: t.Name + ".lora_b", Shape: p.B.Shape, Type: gguf.F32}, param: p.B, heads: t.heads})
	}
	a.keys = append([]gguf.KeyValue{{Key: gguf.KeyArchitecture, Value: arch}, {Key: gguf.KeyType, Value: "adapter"}}, a.about.keys(o.Name)...)
	a.keys = append(a.keys, gguf.KeyValue{Key: "adapter.type", Value: "lora"}, gguf.KeyValue{Key: "adapter.lora.alpha", Value: float32(a.alpha)})
	return a, nil
}

// commonScale is the scale of the first pair that has one, and that pair's rank. Where all scales are 0 it is 1, and the zeros go
// into B: llama.cpp takes an alpha of 0 for a scale of 1.
func commonScale(pairs []peft.Pair) (scale float64, rank int) {
	for _, p := range pairs {
		if p.Scale != 0 {
			return p.Scale, p.A.Shape[0]
		}
	}
	return 1, pairs[0].A.Shape[0]
}

// folded are the values of the pairs with what differs from one alpha for all multiplied into B: B·s·r/alpha.
func (a *Adapter) folded(values Values) Values {
	factor := map[*nn.Param]float32{}
	for _, p := range a.pairs {
		factor[p.B] = float32(p.Scale * float64(p.A.Shape[0]) / a.alpha)
	}
	return func(p *nn.Param, take func([]float32) error) error {
		f, ok := factor[p]
		if !ok || f == 1 {
			return values(p, take)
		}
		return values(p, func(x []float32) error {
			for i := range x {
				x[i] *= f
			}
			return take(x)
		})
	}
}

// WriteLoRA writes the GGUF file of the adapter, a Modelfile that applies it, and its card.
func (a *Adapter) WriteLoRA(out pretrained.Writer, values Values) error {
	if err := out.File(a.File, func(w io.Writer) error { return writeGGUF(w, a.keys, a.tensors, a.folded(values), func(string) {}) }); err != nil {
		return err
	}
	talk := &voice{}
	if a.model.Tokenizer != nil {
		var err error
		if talk, err = voiceOf(a.model); err != nil {
			return err
		}
	}
	base := "./BASE.gguf"
	text := "# Put the base model as GGUF in place of " + base + ".\n" + modelfile(base, "./"+a.File, talk, 0)
	if err := out.Bytes("Modelfile", []byte(text)); err != nil {
		return err
	}
	return out.Bytes("README.md", []byte(a.about.text(a.o.Name, []string{a.File}, "A LoRA adapter as GGUF, to be applied to its base model: `llama-cli -m BASE.gguf --lora "+a.File+"`.")))
}

// mlxConfig is adapter_config.json of mlx-lm.
type mlxConfig struct {
	FineTune   string        `json:"fine_tune_type"`
	Model      string        `json:"model"`
	Layers     int           `json:"num_layers"`
	Parameters mlxParameters `json:"lora_parameters"`
}

type mlxParameters struct {
	Rank    int      `json:"rank"`
	Scale   float64  `json:"scale"`
	Dropout float64  `json:"dropout"`
	Keys    []string `json:"keys"`
}

// PlanMLX plans an adapter of mlx-lm, which has one rank and one scale for all pairs: y += scale·(x·a)·b with a = Aᵀ and b = Bᵀ. It is
// an error, which names the reason, if the adapter is more than LoRA or DoRA with one rank.
func PlanMLX(m *pretrained.Model, o Options) (*Adapter, error) {
	pairs, err := onlyPairs(m)
	if err != nil {
		return nil, err
	}
	rank := pairs[0].A.Shape[0]
	for _, p := range pairs {
		if r := p.A.Shape[0]; r != rank {
			return nil, fmt.Errorf("an MLX adapter has one rank, and this one has %d and %d (rank_pattern)", rank, r)
		}
		if (p.Magnitude != nil) != (pairs[0].Magnitude != nil) {
			return nil, errors.New("an MLX adapter is LoRA or DoRA, and this one is both")
		}
		if p.Module == m.Decoder.Head && m.Decoder.Tied {
			return nil, errors.New("an MLX adapter cannot change the output head of a model that shares it with the embedding")
		}
	}
	scale, _ := commonScale(pairs)
	return &Adapter{o: o, model: m, pairs: pairs, about: readCard(m), File: "adapters.safetensors", alpha: scale * float64(rank)}, nil
}

// WriteMLX writes adapters.safetensors, adapter_config.json and the card.
func (a *Adapter) WriteMLX(out pretrained.Writer, values Values) error {
	first := a.pairs[0]
	rank := first.A.Shape[0]
	c := mlxConfig{FineTune: "lora", Model: a.about.base, Layers: a.model.Decoder.Layers, Parameters: mlxParameters{Rank: rank, Scale: a.alpha / float64(rank)}}
	if first.Magnitude != nil {
		c.FineTune = "dora"
	}
	var specs []weights.Spec
	from := map[string]*nn.Param{}
	modules := map[string]bool{}
	for _, p := range a.pairs {
		add := func(name string, q *nn.Param) {
			s := weights.Spec{Name: p.Module.Path + name, DType: tensor.F32, Shape: q.Shape}
			if len(q.Shape) == 2 {
				s.Shape = tensor.Of(q.Shape[1], q.Shape[0])
			}
			specs, from[s.Name] = append(specs, s), q
		}
		add(".lora_a", p.A)
		add(".lora_b", p.B)
		if p.Magnitude != nil {
			add(".m", p.Magnitude)
		}
		modules[inLayer(p.Module.Path)] = true
	}
	c.Parameters.Keys = slices.Sorted(maps.Keys(modules))
	values = a.folded(values)
	err := out.File(a.File, func(w io.Writer) error {
		return out.Tensors(w, specs, nil, func(name string, w io.Writer) error { return writeTransposed(w, from[name], values) })
	})
	if err != nil {
		return err
	}
	config, err := json.MarshalIndent(c, "", "    ")
	if err != nil {
		return err
	}
	if err := out.Bytes("adapter_config.json", append(config, '\n')); err != nil {
		return err
	}
	return out.Bytes("README.md", []byte(a.about.text(a.o.Name, []string{a.File, "adapter_config.json"}, "An adapter for mlx-lm: `mlx_lm.generate --model BASE --adapter-path .`.")))
}

// inLayer is the path of a module within its layer, as "self_attn.q_proj" of "model.layers.3.self_attn.q_proj".
func inLayer(path string) string {
	rest, ok := strings.CutPrefix(path, "model.layers.")
	if !ok {
		return path
	}
	_, within, _ := strings.Cut(rest, ".")
	return within
}

// writeTransposed writes the transpose of a matrix, or a vector as it is. An adapter's matrix is small enough to be held in memory.
func writeTransposed(w io.Writer, p *nn.Param, values Values) error {
	x := make([]float32, 0, p.Shape.Size())
	if err := values(p, func(part []float32) error { x = append(x, part...); return nil }); err != nil {
		return err
	}
	if len(x) != p.Shape.Size() {
		return fmt.Errorf("%s has %d values, want %d", p.Name, len(x), p.Shape.Size())
	}
	for _, v := range x {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return fmt.Errorf("%s holds %v, which is no finite number", p.Name, v)
		}
	}
	if len(p.Shape) == 2 {
		x = tensor.Transpose(x, p.Shape[0], p.Shape[1])
	}
	_, err := w.Write(tensor.EncodeF32(nil, x, tensor.F32))
	return err
}
