//go:build js

package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"time"

	"llamatab/engine/config"
	"llamatab/engine/message"
	"llamatab/engine/replay"
	"llamatab/engine/report"
	"llamatab/engine/train"
)

// llama is a model with random weights and its batch.
type llama struct {
	hidden, layers, heads, kvHeads, ffn, vocab int
	rows, columns                              int
}

func (m llama) String() string {
	return fmt.Sprintf("llama of %d layers, hidden %d, heads %d/%d, ffn %d, vocabulary %d tied", m.layers, m.hidden, m.heads, m.kvHeads, m.ffn, m.vocab)
}

// timed is how long steps are timed for, at least leastSteps of them.
const (
	timed      = 1500 * time.Millisecond
	leastSteps = 4
)

// runJSON is the configuration of a run that nobody waits for the end of.
func (m llama) runJSON(method string) ([]byte, error) {
	type object = map[string]any
	run := object{
		"model": object{"init": "random", "config": object{
			"model_type": "llama", "architectures": []string{"LlamaForCausalLM"}, "hidden_size": m.hidden, "num_hidden_layers": m.layers,
			"num_attention_heads": m.heads, "num_key_value_heads": m.kvHeads, "intermediate_size": m.ffn, "vocab_size": m.vocab,
			"tie_word_embeddings": true, "max_position_embeddings": m.columns,
		}},
		"dataset":  object{"path": dataset, "format": "tokens"},
		"training": object{"per_device_train_batch_size": m.rows, "max_steps": 1 << 20},
	}
	if method == "lora" {
		run["peft"] = object{"peft_type": "LORA", "r": 8, "target_modules": []string{"q_proj", "v_proj"}}
	} else {
		run["trainable"] = []string{"all"}
	}
	return json.Marshal(run)
}

// tokens is a dataset of two batches.
func (m llama) tokens() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	for r := range 2 * m.rows {
		ids := make([]int, m.columns)
		for i := range ids {
			ids[i] = (r*7919 + i*31) % m.vocab
		}
		if err := e.Encode(map[string]any{"input_ids": ids}); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// train runs steps as a run of run.json does, and then the same programs without the rest of a step.
func (l *lab) train(ctx context.Context, method string) error {
	m := l.sizes.llama
	rows, err := m.tokens()
	if err != nil {
		return err
	}
	raw, err := m.runJSON(method)
	if err != nil {
		return err
	}
	cfg, err := config.Parse(raw, "run.json")
	if err != nil {
		return err
	}
	start := time.Now()
	setup, err := replay.Prepare(cfg, report.Files{Dataset: oneFile{dataset, rows}}, l.Limits)
	if err != nil {
		return err
	}
	defer setup.Model.Close()
	dev := &spy{Device: l.dev}
	t, err := train.New(setup, cfg, dev, events{l.host})
	if err != nil {
		return err
	}
	defer t.Close()
	if err := t.Load(); err != nil {
		return err
	}
	if err := t.Build(); err != nil {
		return err
	}
	r := Training{Method: method, Model: m.String(), Rows: m.rows, Columns: m.columns}
	tokens, fastest := 0, math.Inf(1)
	var landed time.Time // when the first step's result was there: the next was under way by then
	for !(r.Steps >= leastSteps && time.Since(landed) >= timed) {
		step, err := t.Step(ctx)
		switch {
		case err != nil:
			return err
		case step == nil:
		case landed.IsZero():
			landed = time.Now()
			r.FirstStep = landed.Sub(start).Seconds()
		default:
			r.Steps++
			tokens += step.Tokens
			fastest = min(fastest, step.StepSeconds)
		}
	}
	took := time.Since(landed).Seconds()
	if _, err := t.Flush(); err != nil {
		return err
	}
	busy, err := l.dev.Measure(dev.runs...)
	if err != nil {
		return err
	}
	for _, w := range dev.runs {
		r.Dispatches += w.Run.Dispatches()
	}
	r.Trainable, r.Parameters = setup.Layout.Counts()
	r.StepSeconds, r.TokensPerSecond = took/float64(r.Steps), float64(tokens)/took
	r.GPUSeconds = busy.Seconds()
	r.Idle = max(0, 1-r.GPUSeconds/fastest)
	perToken := 4*float64(r.Parameters) + 2*float64(r.Trainable) + 12*float64(m.layers*m.hidden)*float64(m.columns+1)/2
	r.Utilisation = perToken * float64(m.rows*m.columns) / r.StepSeconds / (l.Peak.MultiplyAdd * 1e9)
	l.Training = append(l.Training, r)
	return nil
}

// events is a host that hears of events only: the rest of a run is not what bench reports.
type events struct{ report.Host }

// Emit implements train.Host.
func (h events) Emit(all ...message.Envelope) {
	for _, e := range all {
		if e.Event != nil {
			h.Host.Emit(e)
		}
	}
}

const dataset = "tokens.jsonl"

// oneFile is a folder that holds one file.
type oneFile struct {
	name string
	data []byte
}

// Open implements fs.FS.
func (f oneFile) Open(name string) (fs.File, error) {
	if name != f.name {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return opened{bytes.NewReader(f.data), info{f}}, nil
}

// ReadDir implements fs.ReadDirFS.
func (f oneFile) ReadDir(string) ([]fs.DirEntry, error) {
	return []fs.DirEntry{fs.FileInfoToDirEntry(info{f})}, nil
}

type opened struct {
	*bytes.Reader
	info info
}

func (o opened) Stat() (fs.FileInfo, error) { return o.info, nil }
func (o opened) Close() error               { return nil }

type info struct{ file oneFile }

func (i info) Name() string       { return i.file.name }
func (i info) Size() int64        { return int64(len(i.file.data)) }
func (i info) Mode() fs.FileMode  { return 0o444 }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return false }
func (i info) Sys() any           { return nil }
