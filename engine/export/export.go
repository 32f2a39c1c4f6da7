// Package export writes a model, or an adapter, in the forms that other programs read: GGUF for llama.cpp, Ollama and LM Studio, and
// adapters for MLX. It says before anything is written what a form cannot express.
//
// Nothing is held whole in memory: sizes and places of all tensors follow from their shapes, and values pass through in rows.
package export

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"path"
	"strings"

	"llamatab/engine/gguf"
	"llamatab/engine/nn"
	"llamatab/engine/pretrained"
	"llamatab/engine/quant"
	"llamatab/engine/tensor"
)

// Values passes the final values of a parameter to take, row-major in the shape of its file, in pieces of any size. A piece is reused.
type Values func(p *nn.Param, take func(x []float32) error) error

// Options say how a model is written.
type Options struct {
	Name  string // of the result, for its files and its card
	DType string // of the matrices, one of GGUFTypes
	Split int64  // bytes above which a GGUF file is written in parts, 0 for one file
}

// Model is a plan of a GGUF file with a whole model, made before any value is read.
type Model struct {
	// FellBack are the tensors that got a finer type than the chosen one, because their rows are not whole blocks of it.
	FellBack []string
	Files    []string // that Write creates
	Bytes    int64    // of the GGUF files together
	Template bool     // a chat template is in the file

	o       Options
	model   *pretrained.Model
	keys    []gguf.KeyValue
	tensors []ggufTensor
	parts   [][]ggufTensor
	talk    *voice
	about   card
}

// PlanModel plans a GGUF file. It is an error, which names the reason, if the format cannot express the model.
func PlanModel(m *pretrained.Model, o Options) (*Model, error) {
	kind, ok := fileTypes[cmp.Or(o.DType, "f16")]
	if !ok {
		return nil, fmt.Errorf("--dtype %q is none of %s", o.DType, strings.Join(GGUFTypes(), ", "))
	}
	o.DType = cmp.Or(o.DType, "f16")
	arch, err := architecture(m.Decoder, m.Config)
	if err != nil {
		return nil, err
	}
	rope, freqs, err := rotation(m.Decoder, arch, m.Config)
	if err != nil {
		return nil, err
	}
	words, talk, err := tokenizerKeys(m)
	if err != nil {
		return nil, err
	}
	g := &Model{o: o, model: m, talk: talk, Template: talk.template != "", tensors: ggufTensors(m.Decoder, arch)}
	if freqs != nil {
		g.tensors = append(g.tensors, *freqs)
	}
	g.FellBack = kind.assign(g.tensors, m.Decoder)
	g.about = readCard(m)
	g.keys = append(g.keys, gguf.KeyValue{Key: gguf.KeyArchitecture, Value: arch}, gguf.KeyValue{Key: gguf.KeyType, Value: "model"})
	g.keys = append(g.keys, g.about.keys(o.Name)...)
	g.keys = append(g.keys, gguf.KeyValue{Key: gguf.KeyFileType, Value: kind.number})
	if packed(g.tensors) {
		g.keys = append(g.keys, gguf.KeyValue{Key: gguf.KeyQuantVersion, Value: uint32(2)})
	}
	g.keys = append(g.keys, modelKeys(m.Decoder, arch)...)
	g.keys = append(append(g.keys, rope...), words...)
	return g, g.divide()
}

// Tensors is the number of tensors in the files.
func (g *Model) Tensors() int { return len(g.tensors) }

// divide deals the tensors to files of at most Split bytes of tensors, and names the files as llama.cpp does.
func (g *Model) divide() error {
	var size int64
	g.parts = [][]ggufTensor{nil}
	for _, t := range g.tensors {
		n, err := t.Spec.Bytes()
		if err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		last := len(g.parts) - 1
		if g.o.Split > 0 && len(g.parts[last]) > 0 && size+n > g.o.Split {
			g.parts, size = append(g.parts, nil), 0
			last++
		}
		g.parts[last] = append(g.parts[last], t)
		size += n
	}
	stem := g.stem()
	for i, part := range g.parts {
		name := stem + ".gguf"
		if len(g.parts) > 1 {
			name = fmt.Sprintf("%s-%05d-of-%05d.gguf", stem, i+1, len(g.parts))
		}
		n, err := gguf.FileBytes(g.keysOf(i), specs(part))
		if err != nil {
			return err
		}
		g.Files, g.Bytes = append(g.Files, name), g.Bytes+n
	}
	return nil
}

// stem is the name of the model's file without extension and number.
func (g *Model) stem() string { return fileStem(g.o.Name) + "-" + strings.ToUpper(g.o.DType) }

// keysOf are the keys of one file: of a split model the first one has all, and each has its place among them.
func (g *Model) keysOf(i int) []gguf.KeyValue {
	if len(g.parts) == 1 {
		return g.keys
	}
	place := []gguf.KeyValue{
		{Key: gguf.KeySplitNo, Value: uint16(i)}, {Key: gguf.KeySplitCount, Value: uint16(len(g.parts))}, {Key: gguf.KeySplitTensors, Value: int32(len(g.tensors))},
	}
	if i > 0 {
		return place
	}
	return append(append([]gguf.KeyValue{}, g.keys...), place...)
}

func specs(all []ggufTensor) []gguf.Spec {
	var s []gguf.Spec
	for _, t := range all {
		s = append(s, t.Spec)
	}
	return s
}

// fileStem makes a name that every file system takes.
func fileStem(name string) string {
	stem := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.", r) {
			return r
		}
		return '-'
	}, path.Base(name))
	return cmp.Or(strings.Trim(stem, "-."), "model")
}

// Write writes the files of the model, its Modelfile, its card and its chat template. each is called before a tensor is written.
func (g *Model) Write(out pretrained.Writer, values Values, each func(name string)) error {
	for i, part := range g.parts {
		if err := out.File(g.Files[i], func(w io.Writer) error { return writeGGUF(w, g.keysOf(i), part, values, each) }); err != nil {
			return err
		}
	}
	if g.talk.template != "" {
		if err := out.Bytes("chat_template.jinja", []byte(g.talk.template)); err != nil {
			return err
		}
	}
	from, note := "./"+g.Files[0], ""
	if len(g.Files) > 1 {
		from = "./" + g.stem() + ".gguf"
		note = "# Ollama reads no parts. Join them first: llama-gguf-split --merge " + g.Files[0] + " " + g.stem() + ".gguf\n"
	}
	if err := out.Bytes("Modelfile", []byte(note+modelfile(from, "", g.talk, min(g.model.Decoder.MaxPositions, mostContext)))); err != nil {
		return err
	}
	return out.Bytes("README.md", []byte(g.about.text(g.o.Name, g.Files, "A whole model as GGUF, matrices as "+strings.ToUpper(g.o.DType)+".")))
}

// writeGGUF writes one file.
func writeGGUF(w io.Writer, keys []gguf.KeyValue, tensors []ggufTensor, values Values, each func(name string)) error {
	f, err := gguf.NewWriter(w, keys, specs(tensors))
	if err != nil {
		return err
	}
	for _, t := range tensors {
		each(t.Name)
		if err := f.WriteTensor(t.Name, func(w io.Writer) error { return t.write(w, values) }); err != nil {
			return err
		}
	}
	return f.Close()
}

// write writes the values of a tensor in its type, heads interleaved where it has some.
func (t ggufTensor) write(w io.Writer, values Values) error {
	width := t.Shape[len(t.Shape)-1]
	if len(t.Shape) == 1 {
		width = 1
	}
	p := &packer{w: w, kind: t.Type, name: t.Name}
	if t.heads > 0 {
		p.rows, p.width = t.Shape[0]/t.heads, width
		p.buf = make([]float32, 0, p.rows*p.width)
	} else {
		row := t.Shape[len(t.Shape)-1]
		p.buf = make([]float32, 0, row*max(1, 1<<16/row))
	}
	var err error
	if t.param == nil {
		err = p.take(t.values)
	} else {
		err = values(t.param, p.take)
	}
	if err == nil && len(p.buf) > 0 {
		err = p.flush()
	}
	return err
}

// packer collects values until they are whole rows, or a whole head, and writes them in a type.
type packer struct {
	w           io.Writer
	kind        gguf.TensorType
	name        string
	rows, width int // of a head whose rows change places; 0 for none
	buf, moved  []float32
	out         []byte
}

func (p *packer) take(x []float32) error {
	for len(x) > 0 {
		n := min(len(x), cap(p.buf)-len(p.buf))
		p.buf, x = append(p.buf, x[:n]...), x[n:]
		if len(p.buf) == cap(p.buf) {
			if err := p.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// largestF16 is the largest number that binary16 holds.
const largestF16 = 65504

func (p *packer) flush() error {
	x := p.buf
	for _, v := range x {
		a := math.Abs(float64(v))
		if math.IsNaN(a) || math.IsInf(a, 0) {
			return fmt.Errorf("it holds %v, which is no number", v)
		}
		if a > largestF16 && p.kind != gguf.F32 && p.kind != gguf.BF16 {
			return fmt.Errorf("it holds %v, and %v reaches to %d: choose bf16 or f32", v, p.kind, largestF16)
		}
	}
	if p.rows > 0 {
		if p.moved == nil {
			p.moved = make([]float32, len(x))
		}
		interleave(p.moved, x, p.rows, p.width)
		x = p.moved
	}
	if b := p.kind.Blocks(); b != quant.None {
		n, err := b.Bytes(len(x))
		if err != nil {
			return err
		}
		if cap(p.out) < n {
			p.out = make([]byte, n)
		}
		p.out = p.out[:n]
		if err := quant.Encode(p.out, x, b); err != nil {
			return err
		}
	} else {
		d, _ := p.kind.DType()
		p.out = tensor.EncodeF32(p.out[:0], x, d)
	}
	p.buf = p.buf[:0]
	_, err := p.w.Write(p.out)
	return err
}
