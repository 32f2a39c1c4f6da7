package job_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"llamatab/engine/config"
	"llamatab/engine/device"
	"llamatab/engine/device/cpu"
	"llamatab/engine/enginetest"
	"llamatab/engine/job"
	"llamatab/engine/message"
	"llamatab/engine/model"
	"llamatab/engine/nn"
	"llamatab/engine/report"
	"llamatab/engine/tensor"
	"llamatab/engine/weights"
)

// TestMain lets the heap grow to five times what lives before it is collected: a run leaves much garbage and keeps little, and
// the collector took a quarter of the time of these tests.
func TestMain(m *testing.M) {
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}

// host keeps everything that a job produces in memory.
type host struct {
	sent    []message.Envelope
	staged  map[string][]byte
	files   map[string][]byte // committed
	control func() message.Control
	refuse  func(path string) error // what Commit answers; nil: nothing is refused
}

func newHost() *host { return &host{staged: map[string][]byte{}, files: map[string][]byte{}} }

func (h *host) Emit(m ...message.Envelope) { h.sent = append(h.sent, m...) }

func (h *host) Control() message.Control {
	if h.control == nil {
		return ""
	}
	return h.control()
}

type staging struct {
	bytes.Buffer
	done func([]byte)
}

func (s *staging) Close() error { s.done(s.Bytes()); return nil }

func (h *host) Create(path string) (io.WriteCloser, error) {
	return &staging{done: func(b []byte) { h.staged[path] = b }}, nil
}

func within(dir string) func(string, []byte) bool {
	return func(name string, _ []byte) bool { return name == dir || strings.HasPrefix(name, dir+"/") }
}

func (h *host) Commit(path string) error {
	if h.refuse != nil {
		if err := h.refuse(path); err != nil {
			h.Remove(path)
			return err
		}
	}
	maps.DeleteFunc(h.files, within(path))
	found := false
	for name, data := range h.staged {
		if within(path)(name, nil) {
			h.files[name], found = data, true
		}
	}
	maps.DeleteFunc(h.staged, within(path))
	if !found {
		return fmt.Errorf("commit of %s, of which nothing was written", path)
	}
	return nil
}

func (h *host) Remove(path string) error {
	maps.DeleteFunc(h.files, within(path))
	maps.DeleteFunc(h.staged, within(path))
	return nil
}

func (h *host) Open(path string) (fs.FS, error) {
	m := h.folder(path)
	if len(m) == 0 {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return m, nil
}

// folder is the committed files below dir, "" for all files.
func (h *host) folder(dir string) fstest.MapFS {
	m := fstest.MapFS{}
	for name, data := range h.files {
		if dir == "" {
			m[name] = &fstest.MapFile{Data: data}
		} else if rest, ok := strings.CutPrefix(name, dir+"/"); ok {
			m[rest] = &fstest.MapFile{Data: data}
		}
	}
	return m
}

func (h *host) steps() (all []message.Step) {
	for _, m := range h.sent {
		if m.Step != nil {
			all = append(all, *m.Step)
		}
	}
	return all
}

// recorded are the steps in metrics.jsonl. A later line of a step replaces the line before.
func recorded(h *host) (kept []message.Step) {
	for _, s := range h.steps() {
		kept = append(kept[:min(len(kept), s.Step-1)], s)
	}
	return kept
}

func (h *host) losses() (all []float64) {
	for _, s := range h.steps() {
		all = append(all, float64(s.Loss))
	}
	return all
}

// norms are the gradient norms of a run. They depend on every gradient at once, the losses only after an update.
func norms(h *host) (all []float64) {
	for _, s := range h.steps() {
		all = append(all, float64(s.GradNorm))
	}
	return all
}

func (h *host) events(code string) (all []*message.Event) {
	for _, m := range h.sent {
		if m.Event != nil && m.Event.Code == code {
			all = append(all, m.Event)
		}
	}
	return all
}

// summary is the last summary.json.
func (h *host) summary(t testing.TB) (s struct {
	Planned   map[string]int64 `json:"planned_bytes"`
	Allocated map[string]int64 `json:"allocated_bytes"`
	Trainable int64            `json:"trainable_parameters"`
	Total     int64            `json:"total_parameters"`
	Start     message.Float    `json:"start_eval_loss"`
	Dataset   struct {
		Bad int `json:"bad_rows"`
	} `json:"dataset"`
}) {
	t.Helper()
	for _, m := range h.sent {
		if m.Summary != nil {
			if err := json.Unmarshal(m.Summary, &s); err != nil {
				t.Fatal(err)
			}
		}
	}
	return s
}

// single is the reference device with float32 memory like a GPU: values are rounded after each submission. So a checkpoint holds
// all bits, and a resumed run has the bits of one that was not interrupted.
type single struct {
	device.Device
	bufs   []device.Buffer // all ever made
	peak   int64
	each   bool                // whatever a launch writes is rounded too, so that it overflows where a GPU would
	poison func(step int) bool // submissions of steps, counted from 1, that get an infinite gradient scale
	steps  int
}

func newSingle() *single { return &single{Device: cpu.New()} }

// half is a device that has the feature shader-f16. The engine stores float16 and needs no float16 arithmetic.
type half struct{ device.Device }

func (h half) Info() device.Info {
	i := h.Device.Info()
	i.F16 = true
	return i
}

// Trim implements device.Trimmer.
func (h half) Trim() {
	if t, ok := h.Device.(device.Trimmer); ok {
		t.Trim()
	}
}

func (d *single) Alloc(s device.Spec) (device.Buffer, error) {
	b, err := d.Device.Alloc(s)
	if err == nil {
		d.bufs = append(d.bufs, b)
		d.peak = max(d.peak, d.Usage().Total())
	}
	return b, err
}

func (d *single) Compile(label string, cmds []device.Command) (device.Executable, error) {
	for i, c := range cmds {
		if !d.each || c.Launch == nil {
			continue
		}
		l, k := *c.Launch, *c.Launch.Kernel
		k.Ref = func(call *device.Call) {
			c.Launch.Kernel.Ref(call)
			for j, b := range k.Bindings {
				if b.Access != device.Read && l.Args[j].Buf.Spec().DType.IsFloat() {
					round(call.F(j))
				}
			}
		}
		l.Kernel = &k
		cmds[i].Launch = &l
	}
	return d.Device.Compile(label, cmds)
}

func round(x []float64) {
	for i := range x {
		x[i] = float64(float32(x[i]))
	}
}

func (d *single) Submit(work ...device.Work) error {
	if len(work) > 0 && work[0].Buf != nil && work[0].Buf.Spec().Label == "step scalars" {
		if d.steps++; d.poison != nil && d.poison(d.steps) {
			copy(work[0].Data[4:], tensor.EncodeF32(nil, []float32{float32(math.Inf(1))}, tensor.F32))
		}
	}
	err := d.Device.Submit(work...)
	for _, b := range d.bufs {
		round(cpu.Floats(b))
	}
	return err
}

// shared keeps a device open for the next job.
type shared struct{ device.Device }

func (shared) Close() {}

func (d shared) Trim() {
	if t, ok := d.Device.(device.Trimmer); ok {
		t.Trim()
	}
}

// open opens the device of a job: the reference device, and in a browser the GPU.
func open(t testing.TB) report.Open {
	return func(device.Limits) (device.Device, error) {
		all := enginetest.Devices(t)
		if d := all[len(all)-1]; d.Info().Backend != "cpu" {
			return shared{d}, nil
		}
		return newSingle(), nil
	}
}

// reference opens the reference device everywhere.
func reference(device.Limits) (device.Device, error) { return newSingle(), nil }

// The sizes of the tiny model, all different, so that no two can be confused.
const tinyConfig = `{"architectures": ["LlamaForCausalLM"], "vocab_size": 37, "hidden_size": 16, "intermediate_size": 20,
	"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6, "max_position_embeddings": 32,
	"rms_norm_eps": 1e-5, "rope_theta": 10000, "attention_bias": %[1]v, "mlp_bias": %[1]v, "tie_word_embeddings": %[2]v}`

// tiny is a model folder of random weights. change may alter a tensor before it is written.
func tiny(t testing.TB, tied, bias bool, change func(name string, shape tensor.Shape, x []float32) tensor.Shape) fstest.MapFS {
	t.Helper()
	cfg := []byte(fmt.Sprintf(tinyConfig, bias, tied))
	d, err := model.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var specs []weights.Spec
	values := map[string][]float32{}
	for _, p := range d.Params() {
		x := make([]float32, p.Shape.Size())
		nn.Init{Kind: nn.Normal, Scale: 0.25}.Fill(x, 7, p.Name)
		if strings.Contains(p.Name, "norm") {
			for i := range x {
				x[i]++
			}
		}
		s := p.Shape
		if change != nil {
			s = change(p.Name, s, x)
		}
		specs, values[p.Name] = append(specs, weights.Spec{Name: p.Name, Shape: s}), x
	}
	return fstest.MapFS{"config.json": {Data: cfg}, "model.safetensors": {Data: safetensors(t, specs, values, nil)}}
}

func safetensors(t testing.TB, specs []weights.Spec, values map[string][]float32, metadata map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := weights.NewWriter(&b, specs, metadata)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range w.Order() {
		if err := w.WriteF32(s.Name, values[s.Name][:s.Shape.Size()]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// rows is a dataset of random tokens, one row for each length.
func rows(lengths ...int) fstest.MapFS {
	r := rand.New(rand.NewPCG(3, 4))
	var b bytes.Buffer
	for _, n := range lengths {
		ids := make([]int, n)
		for i := range ids {
			ids[i] = r.IntN(37)
		}
		line, _ := json.Marshal(map[string]any{"input_ids": ids})
		b.Write(append(line, '\n'))
	}
	return lines(b.String())
}

func lines(text string) fstest.MapFS { return fstest.MapFS{"data.jsonl": {Data: []byte(text)}} }

// Settings of the runs, in the form of --set.
const (
	full    = `trainable=["all"]`
	lora    = `peft={"peft_type": "LORA", "r": 4, "lora_alpha": 8}`
	dropout = `peft.lora_dropout=0.3`
)

func steps(n int) string { return fmt.Sprintf("training.max_steps=%d", n) }

// newJob is a short training job over files, with further settings.
func newJob(t testing.TB, files report.Files, sets ...string) *job.Job {
	t.Helper()
	base := `{"model": "m", "dataset": {"path": "data.jsonl"}, "trainable": [], "training": {"learning_rate": 1e-2, "max_steps": 5}}`
	cfg, err := config.ParseWithSets([]byte(base), "run.json", sets)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &job.Job{Job: message.Job{Command: message.Train, Config: raw}, Files: files, Host: newHost(), Open: open(t)}
}

// must runs a job, which must succeed, and returns its host.
func must(t testing.TB, j *job.Job) *host {
	t.Helper()
	h := j.Host.(*host)
	if err := job.Run(context.Background(), j); err != nil {
		t.Fatal(err)
	}
	if last := h.sent[len(h.sent)-1]; last.Done == nil {
		t.Fatalf("the last message is %q, want done", last.Type)
	}
	if len(h.staged) > 0 {
		t.Errorf("left uncommitted: %v", slices.Sorted(maps.Keys(h.staged)))
	}
	return h
}

// mustFail runs a job, which must fail with a code, an exit code and a message with all given parts, and commit nothing.
func mustFail(t testing.TB, j *job.Job, code string, exit int, parts ...string) *message.Failed {
	t.Helper()
	h := j.Host.(*host)
	err := job.Run(context.Background(), j)
	if err == nil {
		t.Fatal("the job succeeded")
	}
	last := h.sent[len(h.sent)-1].Failed
	if last == nil {
		t.Fatalf("the last message is %q, want failed", h.sent[len(h.sent)-1].Type)
	}
	if last.Code != code || last.Exit != exit || last.Next == "" || last.Message != err.Error() {
		t.Errorf("got %+v, want code %q and exit %d, a next step, and the message %q", last, code, exit, err)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("the error %q does not say %q", err, p)
		}
	}
	var e *report.Error
	if !errors.As(err, &e) {
		t.Errorf("%T is not a *train.Error", err)
	}
	if len(h.files) > 0 {
		t.Errorf("committed: %v", slices.Sorted(maps.Keys(h.files)))
	}
	return last
}

// near compares two lists of numbers with a relative tolerance.
func near(t testing.TB, what string, got, want []float64, tol float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	for i := range want {
		if !(math.Abs(got[i]-want[i]) <= tol*max(1, math.Abs(want[i]))) {
			t.Errorf("%s: value %d is %.9g, want %.9g", what, i, got[i], want[i])
		}
	}
}

// namesSettings reports whether a file of a checkpoint differs between runs that differ only in settings: it holds the settings,
// or the checksum of the file that does.
func namesSettings(name string) bool {
	return strings.HasSuffix(name, "run.json") || strings.HasSuffix(name, "checksums.json")
}

// sameFiles compares the bytes of both hosts' files whose names begin with prefix.
func sameFiles(t testing.TB, a, b *host, prefix string) {
	t.Helper()
	n := 0
	for name, data := range b.files {
		if strings.HasPrefix(name, prefix) {
			n++
			if !bytes.Equal(a.files[name], data) {
				t.Errorf("%s differs", name)
			}
		}
	}
	if n == 0 {
		t.Errorf("no file begins with %q", prefix)
	}
}
