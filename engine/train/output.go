package train

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"

	"llamatab/engine/nn"
	"llamatab/engine/report"
	"llamatab/engine/tensor"
	"llamatab/engine/weights"
)

// output writes files and folders of results to a host.
type output struct {
	host report.Host
	mem  *memory
}

// file writes one file and leaves it uncommitted.
func (o output) file(name string, write func(io.Writer) error) (err error) {
	w, err := o.host.Create(name)
	if err == nil {
		err = write(w)
		if e := w.Close(); err == nil {
			err = e
		}
	}
	if err != nil {
		return report.Fail("output", report.ExitFailed, "Free space or choose another output folder, then resume from the last checkpoint.", fmt.Errorf("writing %s: %w", name, err))
	}
	return nil
}

func (o output) bytes(name string, data []byte) error {
	return o.file(name, func(w io.Writer) error { _, err := w.Write(data); return err })
}

func (o output) commit(name string) error {
	if err := o.host.Commit(name); err != nil {
		return report.Fail("output", report.ExitFailed, "Free space or choose another output folder.", fmt.Errorf("writing %s: %w", name, err))
	}
	return nil
}

// adapter writes a PEFT folder, all tensors F32: adapter_config.json, adapter_model.safetensors and, for a projected prefix,
// what makes it.
func (o output) adapter(dir string, m *Model) error {
	cfg, err := m.PEFT.AdapterConfig()
	if err != nil {
		return err
	}
	if err := o.bytes(path.Join(dir, adapterConfig), append(cfg, '\n')); err != nil {
		return err
	}
	files := []string{adapterFile}
	specs := map[string][]weights.Spec{}
	params := map[string]*nn.Param{}
	computed := map[string][]byte{}
	for _, t := range m.saved() {
		file := cmp.Or(t.File, adapterFile)
		if !slices.Contains(files, file) {
			files = append(files, file)
		}
		spec := weights.Spec{Name: t.Key, DType: tensor.F32}
		if params[t.Key] = t.Param; t.Param != nil {
			spec.Shape = t.Param.FileShape()
		} else if spec.Shape, computed[t.Key], err = o.mem.valuesOf(t); err != nil {
			return fmt.Errorf("computing %s: %w", t.Key, err)
		}
		specs[file] = append(specs[file], spec)
	}
	metadata, err := m.classNames()
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := o.file(path.Join(dir, file), func(w io.Writer) error {
			return o.tensors(w, specs[file], metadata, func(name string, w io.Writer) error {
				if p := params[name]; p != nil {
					return o.stream(w, p, p)
				}
				_, err := w.Write(computed[name])
				return err
			})
		}); err != nil {
			return err
		}
	}
	return nil
}

// classNames are the metadata of an adapter's file.
func (m *Model) classNames() (map[string]string, error) {
	if m.Classes == nil {
		return nil, nil
	}
	names, err := json.Marshal(m.Classes)
	return map[string]string{classesKey: string(names)}, err
}

// stream writes the values of key, which belong to p, as F32.
func (o output) stream(w io.Writer, key any, p *nn.Param) error {
	return o.mem.stream(key, p.Shape, p.Transposed, func(b []byte) error { _, err := w.Write(b); return err })
}

// tensors writes one safetensors file, filling each tensor in turn.
func (o output) tensors(w io.Writer, specs []weights.Spec, metadata map[string]string, fill func(name string, w io.Writer) error) error {
	sw, err := weights.NewWriter(w, specs, metadata)
	if err != nil {
		return err
	}
	for _, s := range sw.Order() {
		if err := sw.WriteTensor(s.Name, func(w io.Writer) error { return fill(s.Name, w) }); err != nil {
			return err
		}
	}
	return sw.Close()
}

// copied are the files of a model folder that a result takes over as they are.
var copied = []string{
	"generation_config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
	"added_tokens.json", "chat_template.jinja", "vocab.json", "merges.txt",
}

// kept lists the parameters that a model folder holds: the decoder's, and the language model's own head where an added one
// stands in its place.
func (m *Model) kept() []*nn.Param {
	all := m.Decoder.Params()
	if m.Base != nil && m.headSpec.at == nn.OnTop && !m.tiedBase {
		if t, ok := m.Base.Tensor(lmHeadWeight); ok {
			all = append(all, &nn.Param{Name: lmHeadWeight, Shape: t.Shape})
		}
	}
	return all
}

// model writes a complete Hugging Face folder. fill writes a parameter's values in its spec's type; a parameter
// for which spec returns false is copied from the base checkpoint as it is.
func (o output) model(dir string, m *Model, spec func(*nn.Param) (weights.Spec, bool), fill func(p *nn.Param, w io.Writer) error) error {
	var specs []weights.Spec
	params := map[string]*nn.Param{}
	changed := map[string]bool{}
	bf16, f32 := 0, 0
	for _, p := range m.kept() {
		s, ok := spec(p)
		if !ok {
			t, found := m.Base.Tensor(p.From())
			if !found {
				return fmt.Errorf("tensor %q is missing", p.From())
			}
			s = weights.Spec{Name: p.Name, DType: t.DType, Shape: t.Shape}
		}
		if s.DType == tensor.BF16 {
			bf16++
		} else {
			f32++
		}
		specs, params[s.Name], changed[s.Name] = append(specs, s), p, ok
	}
	dtype := "float32"
	if bf16 > f32 {
		dtype = "bfloat16"
	}
	keys := map[string]any{"tie_word_embeddings": m.Decoder.Tied, "torch_dtype": dtype}
	if m.Decoder.Added != nil {
		keys[headKey] = headFile
	}
	if m.headSpec.at == nn.OnTop { // to others it is the language model that it was
		keys["tie_word_embeddings"] = m.tiedBase
		maps.Copy(keys, labelKeys(m.Classes))
	} else if m.Decoder.Classes > 0 {
		architecture, err := classifierOf(m.Config)
		if err != nil {
			return err
		}
		maps.Copy(keys, labelKeys(m.Classes))
		keys["architectures"] = []string{architecture}
	}
	cfg, err := configWith(m.Config, keys)
	if err != nil {
		return err
	}
	if err := o.bytes(path.Join(dir, "config.json"), append(cfg, '\n')); err != nil {
		return err
	}
	for _, name := range copied {
		from := m.files.Model
		if m.files.Tokenizer != nil && name != "generation_config.json" {
			from = m.files.Tokenizer
		}
		if from == nil {
			continue
		}
		data, err := readSmall(from, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		if err := o.bytes(path.Join(dir, name), data); err != nil {
			return err
		}
	}
	shards := weights.Split(specs, weights.ShardBytes)
	for _, shard := range shards {
		if err := o.file(path.Join(dir, shard.Name), func(w io.Writer) error {
			return o.tensors(w, shard.Specs, nil, func(name string, w io.Writer) error {
				p := params[name]
				if changed[name] {
					return fill(p, w)
				}
				t, _ := m.Base.Tensor(p.From())
				return m.Base.ReadChunks(t, chunkBytes, func(_ int64, b []byte) error { _, err := w.Write(b); return err })
			})
		}); err != nil {
			return err
		}
	}
	if len(shards) > 1 {
		return o.file(path.Join(dir, weights.IndexName), func(w io.Writer) error { return weights.WriteIndex(w, shards) })
	}
	return nil
}

// trained writes the model folder of a run without an adapter: what trained in F32, the rest as it was.
func (o output) trained(dir string, m *Model) error {
	if err := o.head(dir, m, func(p *nn.Param, w io.Writer) error { return o.stream(w, p, p) }); err != nil {
		return err
	}
	return o.model(dir, m, func(p *nn.Param) (weights.Spec, bool) {
		return weights.Spec{Name: p.Name, DType: tensor.F32, Shape: p.Shape}, p.Trainable || p.Fresh || m.Base == nil
	}, func(p *nn.Param, w io.Writer) error { return o.stream(w, p, p) })
}
