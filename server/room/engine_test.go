package room_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"math"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/coder/websocket"

	"llamatab/engine/config"
	"llamatab/engine/device"
	"llamatab/engine/device/cpu"
	"llamatab/engine/fsdp"
	"llamatab/engine/fsdp/rank"
	"llamatab/engine/job"
	"llamatab/engine/message"
	"llamatab/engine/report"
	"llamatab/server/room"
)

// Tabs without a browser: jobs of the engine on the reference device, over real sockets to a real room.

// nativeTab is the host of such a tab.
type nativeTab struct {
	mu       sync.Mutex
	steps    []message.Step
	events   []message.Event
	summary  json.RawMessage
	spans    []message.Span
	files    map[string][]byte
	control  message.Control
	onStep   func(step int)
	finished bool
}

func (h *nativeTab) Emit(es ...message.Envelope) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range es {
		if e.Step != nil {
			h.steps = append(h.steps, *e.Step)
			if h.onStep != nil {
				h.onStep(e.Step.Step)
			}
		}
		if e.Event != nil {
			h.events = append(h.events, *e.Event)
		}
		if e.Summary != nil {
			h.summary = e.Summary
		}
		if e.Span != nil {
			h.spans = append(h.spans, *e.Span)
		}
		if e.Progress != nil && e.Progress.Phase == "wait" {
			h.finished = true
		}
	}
}

type tabFile struct {
	bytes.Buffer
	done func([]byte)
}

func (f *tabFile) Close() error { f.done(f.Bytes()); return nil }

func (h *nativeTab) Create(path string) (io.WriteCloser, error) {
	return &tabFile{done: func(b []byte) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.files[path] = b
	}}, nil
}
func (h *nativeTab) Commit(string) error        { return nil }
func (h *nativeTab) Remove(string) error        { return nil }
func (h *nativeTab) Open(string) (fs.FS, error) { return nil, fs.ErrNotExist }
func (h *nativeTab) Control() message.Control {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.finished {
		return h.control
	}
	return ""
}

// nativeLink is a Link over sockets of this program.
type nativeLink struct {
	sockets [2]*websocket.Conn
	out     [2]chan []byte
	frames  chan rank.Arrival
	end     context.CancelFunc
}

func (l *nativeLink) Send(socket rank.Socket, head []byte, body ...device.Bytes) error {
	for _, b := range body {
		head = append(head, b.Go()...)
	}
	l.out[socket] <- head
	return nil
}
func (l *nativeLink) Frames() <-chan rank.Arrival { return l.frames }
func (l *nativeLink) Close()                      { l.end() }

// nativeDial connects to the room at a server.
func nativeDial(address string) rank.Dial {
	return func(ctx context.Context, r *message.RoomJob, hello fsdp.Hello) (rank.Link, fsdp.Welcome, error) {
		var w fsdp.Welcome
		open := func(socket string, first []byte) (*websocket.Conn, error) {
			ws, _, err := websocket.Dial(ctx, address+"/api/rooms/"+r.ID+"/"+socket, nil)
			if err != nil {
				return nil, err
			}
			ws.SetReadLimit(32 << 20)
			return ws, ws.Write(ctx, websocket.MessageBinary, first)
		}
		control, err := open("control", fsdp.Encode(hello))
		if err != nil {
			return nil, w, err
		}
		_, b, err := control.Read(ctx)
		if err != nil {
			return nil, w, err
		}
		f, err := fsdp.Parse(b)
		if err != nil {
			return nil, w, err
		}
		m, err := fsdp.Decode(f)
		if err != nil {
			return nil, w, err
		}
		if bye, ok := m.(fsdp.Bye); ok {
			return nil, w, &rank.Farewell{Bye: bye}
		}
		w = m.(fsdp.Welcome)
		data, err := open("data", fsdp.Encode(fsdp.Attach{Tab: w.Tab, Token: w.Token, Conn: w.Conn}))
		if err != nil {
			return nil, w, err
		}
		ctx, end := context.WithCancel(ctx)
		l := &nativeLink{sockets: [2]*websocket.Conn{control, data}, frames: make(chan rank.Arrival, 64), end: end}
		var readers sync.WaitGroup
		for i, ws := range l.sockets {
			l.out[i] = make(chan []byte, 1<<14)
			go func() {
				for {
					select {
					case <-ctx.Done():
						ws.CloseNow()
						return
					case b := <-l.out[i]:
						if ws.Write(ctx, websocket.MessageBinary, b) != nil {
							end()
						}
					}
				}
			}()
			readers.Go(func() {
				defer end()
				for {
					_, b, err := ws.Read(ctx)
					if err != nil {
						return
					}
					select {
					case l.frames <- rank.Arrived(b):
					case <-ctx.Done():
						return
					}
				}
			})
		}
		go func() { readers.Wait(); close(l.frames) }()
		return l, w, nil
	}
}

// lesson is a run for a room: a small model from scratch on rows of tokens.
const lesson = `{
	"model": {"init": "random", "config": {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 16, "intermediate_size": 24,
		"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 40, "max_position_embeddings": 32, "rms_norm_eps": 1e-5,
		"tie_word_embeddings": true, "hidden_act": "silu"}},
	"dataset": {"path": "rows.jsonl", "format": "tokens"},
	"training": {"per_device_train_batch_size": 2, "max_steps": 6, "learning_rate": 0.01, "lr_scheduler_type": "constant"},
	"trainable": ["all"],
	"fsdp": {"slots": 4, "sharding_strategy": "NO_SHARD"}
}`

func lessonFiles() report.Files {
	var rows strings.Builder
	for i := range 23 {
		ids := make([]int, 5+i%9)
		for j := range ids {
			ids[j] = (i*7 + j*j*3 + 1) % 40
		}
		line, _ := json.Marshal(map[string]any{"input_ids": ids, "label": []string{"low", "middle", "high"}[ids[0]/14]})
		rows.Write(append(line, '\n'))
	}
	return report.Files{Dataset: fstest.MapFS{"rows.jsonl": &fstest.MapFile{Data: []byte(rows.String())}}}
}

// taught is what a lesson leaves.
type taught struct {
	files map[string][]byte
	steps []message.Step
	spans []message.Span

	events  []message.Event
	summary map[string]any
}

// teach runs a lesson with a number of tabs; once step kill has been applied, the first tab is closed and another one
// joins, if kill is above 0.
func teach(t *testing.T, tabs, kill int, sets ...string) taught {
	t.Helper()
	return teachFrom(t, lessonFiles(), tabs, kill, sets...)
}

func teachFrom(t *testing.T, files report.Files, tabs, kill int, sets ...string) taught {
	t.Helper()
	cfg, err := config.ParseWithSets([]byte(lesson), "run.json", sets)
	if err != nil {
		t.Fatal(err)
	}
	run, tokens, err := rank.NewRun("lesson", cfg, files)
	if err != nil {
		t.Fatal(err)
	}
	run.Checkpoint, run.Piece = 2, 700
	local, err := room.OpenLocal(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	rooms, err := room.OpenRooms(local, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer rooms.Close()
	if _, err := rooms.Open("lesson", room.Config{Run: *run, MinTabs: tabs, Tokens: room.Tokens(tokens)}, "code"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(rooms.Handler())
	defer server.Close()
	text, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	defer all.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	start := func(ctx context.Context, h *nativeTab) {
		all.Go(func() {
			err := job.Run(ctx, &job.Job{Job: message.Job{Command: message.Train, Config: text, Spans: true, Room: &message.RoomJob{ID: "lesson", Code: "code"}},
				Files: files, Host: h, Dial: nativeDial("ws" + strings.TrimPrefix(server.URL, "http")),
				Open: func(device.Limits) (device.Device, error) { return cpu.New(), nil }})
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	writer := &nativeTab{files: map[string][]byte{}, control: message.Save}
	start(ctx, writer)
	for i := range tabs - 1 {
		h := &nativeTab{files: map[string][]byte{}, control: message.Stop}
		if i == 0 && kill > 0 {
			killed, die := context.WithCancel(ctx)
			h.onStep = func(step int) {
				if step == kill {
					die()
					start(ctx, &nativeTab{files: map[string][]byte{}, control: message.Stop})
				}
			}
			start(killed, h)
			continue
		}
		start(ctx, h)
	}
	all.Wait()
	return writer.taught(t)
}

func (h *nativeTab) taught(t *testing.T) taught {
	t.Helper()
	left := taught{files: h.files, steps: h.steps, spans: h.spans, events: h.events}
	if err := json.Unmarshal(h.summary, &left.summary); err != nil {
		t.Fatal(err)
	}
	return left
}

// alone runs a lesson without a room.
func alone(t *testing.T, sets ...string) taught {
	t.Helper()
	return aloneFrom(t, lessonFiles(), sets...)
}

func aloneFrom(t *testing.T, files report.Files, sets ...string) taught {
	t.Helper()
	cfg, err := config.ParseWithSets([]byte(lesson), "run.json", append(sets, "fsdp=null", "training.gradient_accumulation_steps=4"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h := &nativeTab{files: map[string][]byte{}}
	if err := job.Run(t.Context(), &job.Job{Job: message.Job{Command: message.Train, Config: text}, Files: files, Host: h,
		Open: func(device.Limits) (device.Device, error) { return cpu.New(), nil }}); err != nil {
		t.Fatal(err)
	}
	return h.taught(t)
}

// same reports where two lessons differ in bits.
func (a taught) same(b taught) error {
	if !maps.EqualFunc(a.files, b.files, bytes.Equal) || len(a.files) == 0 {
		return fmt.Errorf("the files differ: %d and %d of them", len(a.files), len(b.files))
	}
	if len(a.steps) != len(b.steps) {
		return fmt.Errorf("%d and %d steps", len(a.steps), len(b.steps))
	}
	for i := range a.steps {
		if x, y := a.steps[i], b.steps[i]; x.Loss != y.Loss || x.GradNorm != y.GradNorm || x.Tokens != y.Tokens || x.LearningRate != y.LearningRate ||
			!reflect.DeepEqual(evalOf(x), evalOf(y)) {
			return fmt.Errorf("step %d: %+v and %+v", i+1, x, y)
		}
	}
	return nil
}

// evalOf is what a step's line says of the held-out rows: loss, perplexity, accuracy and F1.
func evalOf(s message.Step) [4]*message.Float {
	return [4]*message.Float{s.EvalLoss, s.Perplexity, s.EvalAccuracy, s.EvalF1}
}

// near reports where the losses of two lessons differ by more than what goes through float32 on the way. The reference
// device computes in float64, so a tab that is made again from a checkpoint, or gathers parameters, differs in its last
// bits from one that goes on with its own; on WebGPU it does not.
func (a taught) near(b taught) error {
	if len(a.steps) != len(b.steps) {
		return fmt.Errorf("%d and %d steps", len(a.steps), len(b.steps))
	}
	for i, s := range b.steps {
		if d := float64(s.Loss - a.steps[i].Loss); !(math.Abs(d) < 1e-5) {
			return fmt.Errorf("step %d: loss %v and %v", i+1, a.steps[i].Loss, s.Loss)
		}
		for k, x := range evalOf(a.steps[i]) {
			if y := evalOf(s)[k]; (x == nil) != (y == nil) || x != nil && !(math.Abs(float64(*x-*y)) < 1e-4) {
				return fmt.Errorf("step %d: number %d of the evaluation is %v and %v", i+1, k, x, y)
			}
		}
	}
	return nil
}

// TestShards: who holds what changes no bit of the result either.
func TestShards(t *testing.T) {
	for _, sets := range [][]string{
		{},
		{"precision.param_dtype=bfloat16"},
		{`peft={"peft_type": "LORA", "target_modules": ["q_proj", "v_proj"], "r": 4}`, "trainable=[]"},
		{`peft={"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 3, "prefix_projection": true, "encoder_hidden_size": 8}`, "trainable=[]"},
		{`peft={"peft_type": "ADAPTION_PROMPT", "adapter_len": 3, "adapter_layers": 1}`, "trainable=[]"},
		{`trainable=["lm_head", "layers:last:1"]`}, {"training.gradient_checkpointing=true"}, {`fsdp.auto_wrap_policy="size:900"`}, {"fsdp.auto_wrap_policy=none"},
	} {
		t.Run(fmt.Sprint(sets), func(t *testing.T) {
			t.Parallel() // what takes time is waiting
			ddp := teach(t, 1, 0, sets...)
			var one taught
			for _, by := range []string{"FULL_SHARD", "SHARD_GRAD_OP", "HYBRID_SHARD"} {
				for _, tabs := range []int{1, 2, 4} {
					if len(sets) > 0 && tabs == 2 {
						continue
					}
					got := teach(t, tabs, 0, slices.Concat(sets, []string{"fsdp.sharding_strategy=" + by, fmt.Sprintf("fsdp.world_size=%d", tabs)})...)
					if one.files == nil {
						one = got
					}
					if err := errors.Join(one.same(got), ddp.near(got)); err != nil {
						t.Errorf("%s with %d tabs: %v", by, tabs, err)
					}
				}
			}
		})
	}
	for _, by := range []string{"FULL_SHARD", "SHARD_GRAD_OP", "HYBRID_SHARD"} {
		t.Run(by+" with a tab that is closed", func(t *testing.T) {
			t.Parallel()
			if err := teach(t, 1, 0).near(teach(t, 3, 3, "fsdp.sharding_strategy="+by, "fsdp.world_size=3")); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestHeldOut: a run in a room measures the loss on held-out rows where a run of one tab does, tells of it in the same lines
// and events and with the same keys of the summary; and how many tabs there are, who holds what, and who is closed in the
// middle changes no number.
func TestHeldOut(t *testing.T) {
	held := []string{"dataset.validation_split=0.3", "training.eval_steps=2", "training.eval_on_start=true", "precision.reduce_dtype=float32"}
	local := alone(t, held...)
	one := teach(t, 1, 0, held...)
	if err := local.near(one); err != nil {
		t.Errorf("a room of one tab and a run without a room: %v", err)
	}
	for i, s := range one.steps {
		if (s.EvalLoss != nil) != ((i+1)%2 == 0) {
			t.Errorf("step %d: evaluated %v", i+1, s.EvalLoss)
		}
	}
	told := func(of taught) (all []string) {
		for _, e := range of.events {
			switch e.Code {
			case "evaluated_on_start", "best_model", "overfitting":
				all = append(all, fmt.Sprintf("%s %d %.3f %s", e.Code, e.Step, e.Data["eval_loss"], e.Message))
			}
		}
		return all
	}
	if got, want := told(one), told(local); !slices.Equal(got, want) || len(want) < 2 {
		t.Errorf("the events are %q, want %q", got, want)
	}
	for _, key := range []string{"start_eval_loss", "start_perplexity", "best_step", "best_eval_loss"} {
		got, _ := one.summary[key].(float64)
		if want, ok := local.summary[key].(float64); !ok || !(math.Abs(got-want) < 1e-5) {
			t.Errorf("summary.json: %s is %v, want %v", key, one.summary[key], local.summary[key])
		}
	}
	for _, tabs := range []int{2, 4} {
		if err := one.same(teach(t, tabs, 0, held...)); err != nil {
			t.Errorf("%d tabs: %v", tabs, err)
		}
	}
	if err := one.near(teach(t, 3, 2, held...)); err != nil {
		t.Errorf("with a tab that is closed: %v", err)
	}
	t.Run("classes", func(t *testing.T) {
		t.Parallel()
		sets := slices.Concat(held, []string{`trainable=["score", "layers:last:1"]`})
		local, one := alone(t, sets...), teach(t, 1, 0, sets...)
		if last := local.steps[5]; last.EvalAccuracy == nil || last.EvalF1 == nil {
			t.Fatalf("the last line is %+v", last)
		}
		if err := errors.Join(local.near(one), one.same(teach(t, 3, 0, sets...)), one.near(teach(t, 2, 0, append(sets, "fsdp.sharding_strategy=FULL_SHARD")...))); err != nil {
			t.Error(err)
		}
	})
	for _, by := range []string{"NO_SHARD", "FULL_SHARD", "SHARD_GRAD_OP", "HYBRID_SHARD"} {
		t.Run(by, func(t *testing.T) {
			t.Parallel()
			sets := slices.Concat(held, []string{"fsdp.sharding_strategy=" + by})
			first := teach(t, 2, 0, append(sets, "fsdp.world_size=2")...)
			without := teach(t, 2, 0, append(sets, "fsdp.world_size=2", "training.eval_steps=0", "training.eval_on_start=false")...)
			for i := range first.steps { // what is trained does not know of it
				if first.steps[i].Loss != without.steps[i].Loss || without.steps[i].EvalLoss != nil {
					t.Errorf("step %d of the run without evaluations: loss %v, not %v, evaluated %v", i+1, without.steps[i].Loss, first.steps[i].Loss, without.steps[i].EvalLoss)
				}
			}
			if !maps.EqualFunc(first.files, without.files, bytes.Equal) {
				t.Error("the run without evaluations ends with other files")
			}
			if err := errors.Join(one.near(first), first.same(teach(t, 4, 0, append(sets, "fsdp.world_size=4")...))); err != nil {
				t.Error(err)
			}
			if err := one.near(teach(t, 3, 2, append(sets, "fsdp.world_size=3")...)); err != nil {
				t.Errorf("with a tab that is closed: %v", err)
			}
		})
	}
}

// TestSlotsWithoutTrainedTokens: a tab whose share of a step has no trained token sends zeros, a whole step without one changes
// nothing but by the moments, and held-out rows without one leave the mean alone. Losses and norms are those of one tab, and finite.
func TestSlotsWithoutTrainedTokens(t *testing.T) {
	var rows strings.Builder
	for i := range 24 { // a step has four slots of two rows; in the first only the last trains, in the third none
		line := fmt.Sprintf(`{"input_ids": [%d, %d, %d, 7]`, i, 1+i*5%39, 2+i*3%38)
		if i < 6 || i >= 16 {
			line += `, "labels": [5, -100, -100, -100]`
		}
		rows.WriteString(line + "}\n")
	}
	files := report.Files{Dataset: fstest.MapFS{"rows.jsonl": &fstest.MapFile{Data: []byte(rows.String())}}}
	for _, sets := range [][]string{
		{"dataset.shuffle=false"},
		{"dataset.shuffle=false", "dataset.packing=true", "dataset.max_length=4"},
		{"dataset.validation_split=0.4", "training.eval_steps=1", "training.eval_on_start=true"},
	} {
		sets = append(sets, "precision.reduce_dtype=float32")
		want := aloneFrom(t, files, sets...)
		empty := 0
		for _, s := range want.steps {
			if s.Tokens == 0 {
				empty++
			}
		}
		if shuffled := len(sets) == 4; empty == 0 && !shuffled || len(want.steps) != 6 {
			t.Fatalf("%v: %d of %d steps have no trained token", sets, empty, len(want.steps))
		}
		for _, by := range []string{"NO_SHARD", "FULL_SHARD"} {
			got := teachFrom(t, files, 2, 0, append(sets, "fsdp.sharding_strategy="+by, "fsdp.world_size=2")...)
			if err := want.near(got); err != nil {
				t.Errorf("%v, %s: %v", sets, by, err)
			}
			for i, s := range got.steps {
				if s.Tokens != want.steps[i].Tokens || !(math.Abs(float64(s.GradNorm-want.steps[i].GradNorm)) < 1e-4) || s.Tokens == 0 && (s.Loss != 0 || s.GradNorm != 0) {
					t.Errorf("%v, %s: step %d: %d tokens, loss %v, norm %v; want %d, %v, %v", sets, by, s.Step, s.Tokens, s.Loss, s.GradNorm, want.steps[i].Tokens, want.steps[i].Loss, want.steps[i].GradNorm)
				}
			}
		}
	}
}

// TestSumFirst: tabs that add up before they round end near the run that does not, and the nearer the less is rounded.
func TestSumFirst(t *testing.T) {
	exact := teach(t, 1, 0, "precision.reduce_dtype=float32")
	for _, tabs := range []int{1, 2, 3} {
		if err := exact.near(teach(t, tabs, 0, "precision.reduce_dtype=float32", "fsdp.reproducible=false")); err != nil {
			t.Errorf("%d tabs, float32: %v", tabs, err)
		}
	}
	if err := exact.near(teach(t, 3, 3, "precision.reduce_dtype=float32", "fsdp.reproducible=false")); err != nil {
		t.Errorf("with a tab that is closed: %v", err)
	}
	slots, sums := teach(t, 1, 0), teach(t, 1, 0, "fsdp.reproducible=false")
	if slots.same(sums) == nil {
		t.Error("the sum of four is rounded as each of them was")
	}
	for i, s := range sums.steps {
		if d := math.Abs(float64(s.Loss - exact.steps[i].Loss)); !(d < 2e-2) {
			t.Errorf("step %d: loss %v, %v without rounding", i+1, s.Loss, exact.steps[i].Loss)
		}
	}
}

// TestMembers: how many tabs there are, and which come and go, changes no bit of the result.
func TestMembers(t *testing.T) {
	one := teach(t, 1, 0)
	if len(one.steps) != 6 || !(one.steps[5].Loss < one.steps[0].Loss) {
		t.Fatalf("the lesson teaches nothing: %+v", one.steps)
	}
	for _, tabs := range []int{2, 4} {
		if err := one.same(teach(t, tabs, 0)); err != nil {
			t.Errorf("%d tabs: %v", tabs, err)
		}
	}
	if err := one.near(teach(t, 3, 3)); err != nil {
		t.Errorf("with a tab that is closed: %v", err)
	}
	other := teach(t, 2, 0, "precision.reduce_dtype=float32")
	if one.same(other) == nil {
		t.Error("gradients that were not rounded give the same bits: this test sees nothing")
	}
}

// TestShardEvents: units are gathered, used and reduced in FSDP's order. The embedding is the head as well; the unit
// head is the last norm. The loss's kernels work out the head's gradient as they go forward.
func TestShardEvents(t *testing.T) {
	for by, want := range map[string]string{
		"FULL_SHARD": "load embed, forward embed, load block 0, forward block 0, load block 1, forward block 1, load head, forward head, load embed, forward embed, reshard, " +
			"load head, backward head, reduce head, load block 1, backward block 1, reduce block 1, load block 0, backward block 0, reduce block 0, backward embed, reduce embed",
		"SHARD_GRAD_OP": "load embed, forward embed, load block 0, forward block 0, load block 1, forward block 1, load head, forward head, forward embed, " +
			"backward head, reduce head, backward block 1, reduce block 1, backward block 0, reduce block 0, backward embed, reduce embed",
	} {
		for _, checkpointing := range []string{"false", "true"} { // which shares the backward walk's gather
			taught := teach(t, 1, 0, "fsdp.sharding_strategy="+by, "training.gradient_checkpointing="+checkpointing)
			var events []string
			for _, span := range taught.spans {
				switch span.What {
				case "load", "forward", "backward", "reduce":
					if span.Unit != "" {
						events = append(events, span.What+" "+span.Unit)
					}
				case "reshard", "apply":
					events = append(events, span.What)
				}
			}
			got := strings.Join(events, ", ")
			if slot, _, _ := strings.Cut(got, "reduce embed"); slot+"reduce embed" != want {
				t.Errorf("%s, checkpointing %s: the first slot is\n%s, want\n%s", by, checkpointing, slot+"reduce embed", want)
			}
			if n := strings.Count(got, "apply"); n != len(taught.steps) {
				t.Errorf("%s: %d updates in %d steps", by, n, len(taught.steps))
			}
		}
	}
}
