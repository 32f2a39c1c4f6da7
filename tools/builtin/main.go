// Command builtin makes the built-in model and datasets in two steps. The llamatab program trains the model between them,
// like any other run (see the Makefile's target builtin):
//
//	builtin write DIR        writes the corpus as rows of tokens, the tokenizer, the run.json and the fine-tuning sets
//	builtin take  DIR RUN TO copies them and the result of the run in RUN to TO, with bfloat16 weights
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"llamatab/engine/corpus"
	"llamatab/engine/tensor"
	"llamatab/engine/tokenizer"
	"llamatab/engine/weights"
)

const (
	modelName = "tales" // builtin:tales
	seed      = 20
	documents = 10000
	vocab     = 1024
	rowTokens = 128
	bos, eos  = "<s>", "</s>"
)

// modelConfig is the built-in model's config.json: a Llama of about a million parameters.
var modelConfig = map[string]any{
	"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "torch_dtype": "bfloat16",
	"vocab_size": vocab, "hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 5,
	"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
	"hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "initializer_range": 0.04,
	"tie_word_embeddings": true, "attention_bias": false, "mlp_bias": false, "bos_token_id": 0, "eos_token_id": 1,
}

// run is the run.json that trains the built-in model.
var run = map[string]any{
	"model":     map[string]any{"init": "random", "config": "config.json", "tokenizer": "."},
	"dataset":   map[string]any{"path": "corpus.jsonl", "format": "tokens", "validation_split": 0.01},
	"trainable": []string{"all"},
	"training": map[string]any{
		"learning_rate": 3e-3, "lr_scheduler_type": "cosine", "warmup_steps": 20, "weight_decay": 0.05, "adam_beta2": 0.95,
		"no_decay": []string{"norm"}, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 2, "max_steps": 240,
		"eval_steps": 40, "save_steps": 60, "seed": seed,
	},
}

func main() {
	var err error
	switch args := os.Args[1:]; {
	case len(args) == 2 && args[0] == "write":
		err = write(args[1])
	case len(args) == 4 && args[0] == "take":
		err = take(args[1], args[2], args[3])
	default:
		err = errors.New("usage: builtin write DIR | builtin take DIR RUN TO")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "builtin:", err)
		os.Exit(1)
	}
}

// write writes what the run needs, and the fine-tuning sets.
func write(dir string) error {
	docs := corpus.Base(seed, documents)
	// The tokenizer also learns from the fine-tuning sets. Without them it would split their words into bytes.
	file, err := tokenizer.Train(slices.Concat(docs, corpus.Texts(seed)), vocab, bos, eos)
	if err != nil {
		return err
	}
	t, err := tokenizer.Load(file, "tokenizer.json")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o777); err != nil {
		return err
	}
	rows, tokens, err := pack(t, docs)
	if err != nil {
		return err
	}
	fmt.Printf("%d documents, %d tokens\n", len(docs), tokens)
	files := map[string][]byte{"tokenizer.json": append(file, '\n'), "corpus.jsonl": rows}
	for name, value := range map[string]any{
		"config.json": modelConfig, "run.json": run,
		"tokenizer_config.json": map[string]any{
			"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": bos, "eos_token": eos, "add_bos_token": true, "model_max_length": 512,
		},
		"generation_config.json": map[string]any{"bos_token_id": 0, "eos_token_id": 1},
	} {
		if files[name], err = json.MarshalIndent(value, "", "  "); err != nil {
			return err
		}
		files[name] = append(files[name], '\n')
	}
	for _, s := range corpus.Sets {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		for _, row := range s.Rows(seed) {
			if err := e.Encode(row); err != nil {
				return err
			}
		}
		files[filepath.Join("data", s.Name+".jsonl")] = b.Bytes()
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o666); err != nil {
			return err
		}
	}
	return nil
}

// pack concatenates documents, each between BOS and EOS, and cuts the tokens into rows of equal length, so that no
// computation is spent on padding.
func pack(t *tokenizer.Tokenizer, docs []string) (rows []byte, tokens int, err error) {
	var stream []int
	for _, d := range docs {
		ids, err := t.Encode(d, true)
		if err != nil {
			return nil, 0, err
		}
		stream = append(append(stream, ids...), 1)
	}
	var b bytes.Buffer
	for chunk := range slices.Chunk(stream, rowTokens) {
		if len(chunk) < rowTokens {
			break
		}
		line, err := json.Marshal(map[string]any{"input_ids": chunk})
		if err != nil {
			return nil, 0, err
		}
		b.Write(append(line, '\n'))
	}
	return b.Bytes(), len(stream), nil
}

// take copies what write made in dir and the run in from made of it to the folder to.
func take(dir, from, to string) error {
	if err := os.MkdirAll(filepath.Join(to, "data"), 0o777); err != nil {
		return err
	}
	model := filepath.Join("models", modelName)
	// metrics.jsonl and run.json document how the model was trained.
	copies := map[string]string{filepath.Join(from, "metrics.jsonl"): filepath.Join(model, "metrics.jsonl"), filepath.Join(dir, "run.json"): filepath.Join(model, "run.json")}
	for _, name := range []string{"config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"} {
		copies[filepath.Join(dir, name)] = filepath.Join(model, name)
	}
	for _, s := range corpus.Sets {
		name := filepath.Join("data", s.Name+".jsonl")
		copies[filepath.Join(dir, name)] = name
	}
	if err := os.MkdirAll(filepath.Join(to, model), 0o777); err != nil {
		return err
	}
	for a, b := range copies {
		data, err := os.ReadFile(a)
		if err == nil {
			err = os.WriteFile(filepath.Join(to, b), data, 0o666)
		}
		if err != nil {
			return err
		}
	}
	return halve(filepath.Join(from, "model"), filepath.Join(to, model, "model.safetensors"))
}

// halve writes the tensors of a model folder as bfloat16.
func halve(folder, file string) error {
	c, err := weights.Open(os.DirFS(folder))
	if err != nil {
		return err
	}
	defer c.Close()
	var specs []weights.Spec
	for _, name := range c.Names() {
		t, _ := c.Tensor(name)
		specs = append(specs, weights.Spec{Name: name, DType: tensor.BF16, Shape: t.Shape})
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer out.Close()
	w, err := weights.NewWriter(out, specs, nil)
	if err != nil {
		return err
	}
	for _, s := range w.Order() {
		t, _ := c.Tensor(s.Name)
		h, err := c.ReadF32(t)
		if err != nil {
			return err
		}
		if err := w.WriteTensor(s.Name, func(w io.Writer) error {
			_, err := w.Write(tensor.EncodeF32(nil, h.Data, tensor.BF16))
			return err
		}); err != nil {
			return err
		}
	}
	return errors.Join(w.Close(), out.Close())
}
