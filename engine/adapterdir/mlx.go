package adapterdir

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"llamatab/engine/message"
	"llamatab/engine/tensor"
	"llamatab/engine/weights"
)

// maxMLX bounds what the tensors of an MLX adapter may take in memory while they are transposed, in bytes.
const maxMLX = 1 << 30

// isMLX says whether a key is one of MLX's adapters, whose pairs lie transposed: lora_a (in, r) and lora_b (r, out).
func isMLX(key string) bool {
	return strings.HasSuffix(key, ".lora_a") || strings.HasSuffix(key, ".lora_b")
}

// mlxConfig is adapter_config.json as mlx-lm writes it.
type mlxConfig struct {
	PEFTType   string `json:"peft_type"`
	FineTune   string `json:"fine_tune_type"`
	Model      string `json:"model"`
	Parameters struct {
		Rank    int      `json:"rank"`
		Scale   *float64 `json:"scale"`
		Dropout float64  `json:"dropout"`
	} `json:"lora_parameters"`
}

// defaultScale is mlx-lm's where its configuration gives none.
const defaultScale = 20

// fromMLX presents an adapter of mlx-lm (tuner/lora.py): y += scale·(x·a)·b, so that A = aᵀ, B = bᵀ and alpha = scale·r.
func fromMLX(fsys fs.FS, c *weights.Checkpoint, name string) (fs.FS, []message.Remark, error) {
	wrong := func(err error) (fs.FS, []message.Remark, error) {
		return nil, nil, fmt.Errorf("an adapter of MLX: %w", err)
	}
	if info, err := fs.Stat(fsys, configName); err == nil && info.Size() > maxConfig {
		return wrong(fmt.Errorf("%s has %d bytes, more than the limit of %d", configName, info.Size(), maxConfig))
	}
	raw, err := fs.ReadFile(fsys, configName)
	if err != nil {
		return wrong(err)
	}
	var config mlxConfig
	if err := json.Unmarshal(raw, &config); err != nil {
		return wrong(fmt.Errorf("%s: %w", configName, err))
	}
	if kind := config.FineTune; kind != "" && kind != "lora" && kind != "dora" {
		return wrong(fmt.Errorf("%s: fine_tune_type %q is not supported, want lora or dora", configName, kind))
	}
	pairs, err := readMLX(c)
	if err != nil {
		return wrong(fmt.Errorf("%s: %w", name, err))
	}
	data, err := pairs.file()
	if err != nil {
		return wrong(fmt.Errorf("%s: %w", name, err))
	}
	o := &overlay{FS: fsys, files: map[string]func() (fs.File, error){weightsName: func() (fs.File, error) { return memoryFile(weightsName, data), nil }}}
	if config.PEFTType == "" {
		if raw, err = pairs.config(config); err != nil {
			return wrong(err)
		}
		o.files[configName] = func() (fs.File, error) { return memoryFile(configName, raw), nil }
	}
	return o, []message.Remark{message.NewRemark("adapter_mlx", "{file} is an adapter of MLX: its pairs are transposed, and lora_alpha is scale × rank", "file", name)}, nil
}

// mlxPairs are the tensors of an MLX adapter under PEFT's keys.
type mlxPairs struct {
	specs   []weights.Spec
	values  map[string][]float32
	modules []string // the adapted ones, in alphabetical order
	rank    int
	dora    bool
}

func readMLX(c *weights.Checkpoint) (*mlxPairs, error) {
	p := &mlxPairs{values: map[string][]float32{}}
	seen := map[string]bool{}
	var total int64
	for _, key := range c.Names() {
		t, _ := c.Tensor(key)
		if total += 2 * t.Bytes; total > maxMLX {
			return nil, fmt.Errorf("more than %d bytes of tensors", maxMLX)
		}
		dot := strings.LastIndexByte(key, '.')
		module, _ := respell(key[:max(dot, 0)])
		module = strings.TrimPrefix(module, "base_model.model.")
		last := key[dot+1:]
		name := map[string]string{"lora_a": ".lora_A.weight", "lora_b": ".lora_B.weight", "m": ".lora_magnitude_vector"}[last]
		if name == "" || module == "" {
			return nil, fmt.Errorf("%q is none of lora_a, lora_b and m", key)
		}
		h, err := c.ReadF32(t)
		if err != nil {
			return nil, err
		}
		if last == "m" {
			p.dora = true
		} else {
			if len(h.Shape) != 2 {
				return nil, fmt.Errorf("%q has shape %v, want two dimensions", key, h.Shape)
			}
			rank := h.Shape[1]
			if last == "lora_b" {
				rank = h.Shape[0]
			}
			if p.rank == 0 {
				p.rank = rank
			}
			if rank != p.rank {
				return nil, fmt.Errorf("%q has rank %d, others have %d", key, rank, p.rank)
			}
			h = tensor.Host{Shape: tensor.Of(h.Shape[1], h.Shape[0]), Data: tensor.Transpose(h.Data, h.Shape[0], h.Shape[1])}
		}
		full := "base_model.model." + module + name
		p.specs, p.values[full] = append(p.specs, weights.Spec{Name: full, Shape: h.Shape}), h.Data
		seen[module] = true
	}
	p.modules = slices.Sorted(maps.Keys(seen))
	return p, nil
}

// file is the adapter_model.safetensors of the pairs.
func (p *mlxPairs) file() ([]byte, error) {
	var b bytes.Buffer
	w, err := weights.NewWriter(&b, p.specs, nil)
	if err != nil {
		return nil, err
	}
	for _, s := range w.Order() {
		if err := w.WriteF32(s.Name, p.values[s.Name]); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// config is the adapter_config.json of the pairs. The file's own modules are the targets: mlx-lm names layers by their
// number from the top.
func (p *mlxPairs) config(c mlxConfig) ([]byte, error) {
	if p.rank < 1 {
		return nil, errors.New("it holds no pairs")
	}
	if r := c.Parameters.Rank; r != 0 && r != p.rank {
		return nil, fmt.Errorf("%s: lora_parameters.rank is %d, the pairs have rank %d", configName, r, p.rank)
	}
	scale := float64(defaultScale)
	if c.Parameters.Scale != nil {
		scale = *c.Parameters.Scale
	}
	return json.Marshal(map[string]any{
		"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": c.Model, "r": p.rank, "lora_alpha": scale * float64(p.rank),
		"lora_dropout": c.Parameters.Dropout, "target_modules": p.modules, "use_dora": p.dora || c.FineTune == "dora",
	})
}
