package pretrained

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

	"llamatab/engine/chat"
	"llamatab/engine/model"
	"llamatab/engine/nn"
	"llamatab/engine/peft"
	"llamatab/engine/report"
	"llamatab/engine/tensor"
	"llamatab/engine/weights"
)

// ChunkBytes is the size of the pieces in which a tensor is read and written, as a checkpoint may be larger than the memory of
// this program.
const ChunkBytes = 4 << 20

// Values reads the values of parameters, which may be on one device or in shards on several.
type Values interface {
	// Stream passes the values of key to write in pieces, as little-endian float32, row-major in shape or in its transpose. key
	// is an *nn.Param, an nn.GradOf or a moment's key.
	Stream(key any, shape tensor.Shape, transposed bool, write func([]byte) error) error
	// Compute returns the shape and the values of a tensor that is a function of trained parameters, as little-endian float32.
	Compute(t peft.Tensor) (tensor.Shape, []byte, error)
}

// Writer writes the files of results to a host. Values may be nil if a result only has values that are copied from files.
type Writer struct {
	Host   report.Host
	Values Values

	sums map[string]fileSum // of each file by its name; nil if they are not noted
}

// File writes one file. The caller commits it.
func (o Writer) File(name string, write func(io.Writer) error) (err error) {
	w, err := o.Host.Create(name)
	if err == nil {
		to := &summed{w: w}
		if o.sums == nil {
			err = write(w)
		} else if err = write(to); err == nil {
			o.sums[name] = to.sum()
		}
		if e := w.Close(); err == nil {
			err = e
		}
	}
	if err != nil {
		return report.Fail("output", report.ExitFailed, "Free space or choose another output folder, then resume from the last checkpoint.", fmt.Errorf("writing %s: %w", name, err))
	}
	return nil
}

// Bytes is File for content that is in memory.
func (o Writer) Bytes(name string, data []byte) error {
	return o.File(name, func(w io.Writer) error { _, err := w.Write(data); return err })
}

// Commit makes a file or folder that was written visible.
func (o Writer) Commit(name string) error {
	if err := o.Host.Commit(name); err != nil {
		return report.Fail("output", report.ExitFailed, "Free space or choose another output folder.", fmt.Errorf("writing %s: %w", name, err))
	}
	return nil
}

// Adapter writes a PEFT folder with float32 tensors: adapter_config.json, adapter_model.safetensors, for a prefix with a
// projection the file of the projection, and the chat template where it is not the model's.
func (o Writer) Adapter(dir string, m *Model) error {
	cfg, err := m.PEFT.AdapterConfig()
	if err != nil {
		return err
	}
	if err := o.Bytes(path.Join(dir, adapterConfig), append(cfg, '\n')); err != nil {
		return err
	}
	own, err := m.ownTemplates()
	if err != nil {
		return err
	}
	if err := o.templates(dir, own); err != nil {
		return err
	}
	files := []string{adapterFile}
	specs := map[string][]weights.Spec{}
	params := map[string]*nn.Param{}
	computed := map[string][]byte{}
	for _, t := range m.AdapterTensors() {
		file := cmp.Or(t.File, adapterFile)
		if !slices.Contains(files, file) {
			files = append(files, file)
		}
		spec := weights.Spec{Name: t.Key, DType: tensor.F32}
		if params[t.Key] = t.Param; t.Param != nil {
			spec.Shape = t.Param.FileShape()
		} else if spec.Shape, computed[t.Key], err = o.Values.Compute(t); err != nil {
			return fmt.Errorf("computing %s: %w", t.Key, err)
		}
		specs[file] = append(specs[file], spec)
	}
	metadata, err := m.classNames()
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := o.File(path.Join(dir, file), func(w io.Writer) error {
			return o.Tensors(w, specs[file], metadata, func(name string, w io.Writer) error {
				if p := params[name]; p != nil {
					return o.Stream(w, p, p)
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

// classNames are the metadata of an adapter's file: the names of the classes, nil if there are none.
func (m *Model) classNames() (map[string]string, error) {
	if m.Classes == nil {
		return nil, nil
	}
	names, err := json.Marshal(m.Classes)
	return map[string]string{classesKey: string(names)}, err
}

// Stream writes the values of key as float32 in the shape of p's file. key is p, its gradient's or a moment's.
func (o Writer) Stream(w io.Writer, key any, p *nn.Param) error {
	return o.Values.Stream(key, p.Shape, p.Transposed, func(b []byte) error { _, err := w.Write(b); return err })
}

// Tensors writes one safetensors file. fill writes the bytes of a tensor.
func (o Writer) Tensors(w io.Writer, specs []weights.Spec, metadata map[string]string, fill func(name string, w io.Writer) error) error {
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

// copied are the files of a model folder that are copied into a result.
var copied = []string{
	"generation_config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
	"added_tokens.json", "vocab.json", "merges.txt",
}

// SavedParams lists the parameters of a written model folder: those of the decoder, and the base model's lm_head if an added
// head replaces it.
func (m *Model) SavedParams() []*nn.Param {
	all := m.Decoder.Params()
	if m.Base != nil && m.headSpec.at == nn.OnTop && !m.tiedBase {
		if t, ok := m.Base.Tensor(lmHeadWeight); ok {
			all = append(all, &nn.Param{Name: lmHeadWeight, Shape: t.Shape})
		}
	}
	return all
}

// Model writes a complete Hugging Face folder. fill writes the values of a parameter in the type of its spec. A parameter for
// which spec returns false is copied from the base file.
func (o Writer) Model(dir string, m *Model, spec func(*nn.Param) (weights.Spec, bool), fill func(p *nn.Param, w io.Writer) error) error {
	var specs []weights.Spec
	params := map[string]*nn.Param{}
	changed := map[string]bool{}
	bf16, f16, f32 := 0, 0, 0
	for _, p := range m.SavedParams() {
		s, ok := spec(p)
		if !ok {
			t, found := m.Base.Tensor(p.From())
			if !found {
				return fmt.Errorf("tensor %q is missing", p.From())
			}
			s = weights.Spec{Name: p.Name, DType: t.DType, Shape: t.Shape}
		}
		switch {
		case s.DType == tensor.BF16:
			bf16++
		case s.DType == tensor.F16 && ok: // a copied float16 tensor counts as before, so that the files of results stay as they are
			f16++
		default:
			f32++
		}
		specs, params[s.Name], changed[s.Name] = append(specs, s), p, ok
	}
	dtype := "float32"
	if bf16 > f32+f16 {
		dtype = "bfloat16"
	} else if f16 > f32 {
		dtype = "float16"
	}
	keys, err := m.configKeys(dtype)
	if err != nil {
		return err
	}
	cfg, err := configWith(m.Config, keys)
	if err != nil {
		return err
	}
	if err := o.Bytes(path.Join(dir, "config.json"), append(cfg, '\n')); err != nil {
		return err
	}
	if err := o.copyFiles(dir, m); err != nil {
		return err
	}
	shards := weights.Split(specs, weights.ShardBytes)
	for _, shard := range shards {
		if err := o.File(path.Join(dir, shard.Name), func(w io.Writer) error {
			return o.Tensors(w, shard.Specs, nil, func(name string, w io.Writer) error {
				p := params[name]
				if changed[name] {
					return fill(p, w)
				}
				t, _ := m.Base.Tensor(p.From())
				return m.Base.ReadChunks(t, ChunkBytes, func(_ int64, b []byte) error { _, err := w.Write(b); return err })
			})
		}); err != nil {
			return err
		}
	}
	if len(shards) > 1 {
		return o.File(path.Join(dir, weights.IndexName), func(w io.Writer) error { return weights.WriteIndex(w, shards) })
	}
	return nil
}

// configKeys are the keys of config.json that differ from the base model's. dtype is the type of most written tensors.
func (m *Model) configKeys(dtype string) (map[string]any, error) {
	keys := map[string]any{"tie_word_embeddings": m.Decoder.Tied, "torch_dtype": dtype}
	if m.Decoder.Added != nil {
		keys[headKey] = headFile
	}
	if m.headSpec.at == nn.OnTop { // other programs load it as the language model
		keys["tie_word_embeddings"] = m.tiedBase
		maps.Copy(keys, labelKeys(m.Classes))
	} else if m.Decoder.Classes > 0 {
		architecture, err := model.ClassifierOf(m.Config)
		if err != nil {
			return nil, err
		}
		maps.Copy(keys, labelKeys(m.Classes))
		keys["architectures"] = []string{architecture}
	}
	return keys, nil
}

// copyFiles copies the tokenizer's files, the chat templates and generation_config.json. Where the result has a chat template of
// its own, that one is written instead of the model's.
func (o Writer) copyFiles(dir string, m *Model) error {
	own, err := m.ownTemplates()
	if err != nil {
		return err
	}
	if err := o.templates(dir, own); err != nil {
		return err
	}
	names := copied
	if fsys := m.tokenizerFiles(); fsys != nil {
		names = slices.Concat(copied, chat.Files(fsys))
	}
	for _, name := range names {
		if _, written := own[name]; written {
			continue
		}
		from := m.Files.Model
		if m.Files.Tokenizer != nil && name != "generation_config.json" {
			from = m.Files.Tokenizer
		}
		if from == nil {
			continue
		}
		data, err := ReadSmall(from, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		if err := o.Bytes(path.Join(dir, name), data); err != nil {
			return err
		}
	}
	return nil
}

// templates writes chat templates by the names of their files.
func (o Writer) templates(dir string, files map[string][]byte) error {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := o.Bytes(path.Join(dir, name), files[name]); err != nil {
			return err
		}
	}
	return nil
}

// Trained writes the model folder of a run without an adapter: trained parameters in float32, the others copied from the base
// file.
func (o Writer) Trained(dir string, m *Model) error {
	if err := o.Head(dir, m, func(p *nn.Param, w io.Writer) error { return o.Stream(w, p, p) }); err != nil {
		return err
	}
	return o.Model(dir, m, func(p *nn.Param) (weights.Spec, bool) {
		return weights.Spec{Name: p.Name, DType: tensor.F32, Shape: p.Shape}, p.Trainable || p.New || m.Base == nil
	}, func(p *nn.Param, w io.Writer) error { return o.Stream(w, p, p) })
}
