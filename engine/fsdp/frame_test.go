package fsdp

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden frames")

const goldenFile = "testdata/frames.txt"

// goldens are frames whose bytes must never change: a tab of yesterday talks to a server of today.
func goldens() map[string][]byte {
	bulk := Frame{Header{Type: TypeGradient, Flags: FlagBF16 | FlagCRC, Slot: 3, Epoch: 0x01020304, Step: 1 << 40, Unit: 7, Chunk: 5, Chunks: 9}, []byte{0x80, 0x3f, 0, 0xc0}}
	half := 0.5
	plain := Frame{Header{Type: TypeReduced, Flags: FlagF32, Slot: 1, Epoch: 2, Step: 3, Chunks: 1}, []byte{0, 0, 0x80, 0x3f}}
	return map[string][]byte{
		"gradient": bulk.Append(nil),
		"reduced":  plain.Append(nil),
		"hello":    Encode(Hello{Code: "k7-pine-owl", Name: "Ada", Platform: "intel|gen-12lp"}),
		"attach":   Encode(Attach{Tab: 4, Token: "t"}),
		"welcome":  Encode(Welcome{Tab: 4, Token: "t", Run: json.RawMessage(`{"id":"r"}`)}),
		"status": Encode(Status{Seq: 8, Seen: 2, Progress: 5, Held: []Held{{0, 3}}, Slots: []Ready{
			{Work: Work{Epoch: 9, Step: 3, Slot: 1}, Loss: 1.5, Tokens: 7}, {Work: Work{Epoch: 10, Step: 3, Slot: 2}, Invalid: true}}}),
		"orders": Encode(Orders{Seq: 2, Epoch: 9, Version: 3, Oldest: 1, Gather: true, Shards: []Keep{{1, 2}}, Work: []Work{{Epoch: 9, Step: 3, Slot: 1}},
			Commits: []Commit{{Step: 2, Applied: true, Factor: 0.25, Updates: 3}}, Phase: "computing"}),
		"status-eval": Encode(Status{Seq: 9, Seen: 3, Awaits: 4, Slots: []Ready{{Work: Work{Epoch: 11, Step: 6, Slot: 2, Eval: true}, Loss: 4.5, Tokens: 3,
			Confusion: []ConfusionCount{{0, 1, 2}, {1, 1, 1}}}}}),
		"orders-eval": Encode(Orders{Seq: 3, Epoch: 11, Version: 6, Work: []Work{{Epoch: 11, Step: 6, Slot: 2, Eval: true}}, Evals: []Evaluated{
			{Version: 0, Tokens: 12, Invalid: true}, {Version: 4, Loss: 1.25, Tokens: 12, Accuracy: &half, F1: &half, Best: 1.25, BestStep: 4}}, Phase: "evaluating"}),
		"pull": Encode(Pull{Kind: TypeGradient, Epoch: 9, Step: 3, Slot: 1, From: 4, To: 8}),
		"bye":  Encode(Bye{Code: "full", Reason: "no room", Again: true}),
	}
}

func TestGoldenFrames(t *testing.T) {
	if *update {
		var b strings.Builder
		for _, name := range []string{"gradient", "reduced", "hello", "welcome", "attach", "status", "orders", "status-eval", "orders-eval", "pull", "bye"} {
			b.WriteString(name + " " + hex.EncodeToString(goldens()[name]) + "\n")
		}
		if err := os.MkdirAll(filepath.Dir(goldenFile), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(goldenFile, []byte(b.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	left := goldens()
	for line := range strings.Lines(string(text)) {
		name, want, _ := strings.Cut(strings.TrimSpace(line), " ")
		got := hex.EncodeToString(left[name])
		if got != want {
			t.Errorf("%s is\n%s, want\n%s", name, got, want)
		}
		raw, _ := hex.DecodeString(want)
		f, err := Parse(raw)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if again := f.Append(nil); !bytes.Equal(again, raw) {
			t.Errorf("%s: read and written again it is %x", name, again)
		}
		if !f.Type.Bulk() {
			m, err := Decode(f)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			} else if again := Encode(m); !bytes.Equal(again, raw) {
				t.Errorf("%s: decoded and encoded again it is %s", name, again[HeaderLen:])
			}
		}
		delete(left, name)
	}
	if len(left) > 0 {
		t.Errorf("no golden of %v", reflect.ValueOf(left).MapKeys())
	}
}

// TestBadFrames changes one thing of a good frame at a time.
func TestBadFrames(t *testing.T) {
	good := goldens()["gradient"]
	with := func(at int, b ...byte) []byte {
		f := bytes.Clone(good)
		copy(f[at:], b)
		return f
	}
	pull := goldens()["pull"]
	for name, c := range map[string]struct {
		b    []byte
		want string
	}{
		"empty":              {nil, "0 bytes where a header has 40"},
		"short header":       {good[:39], "39 bytes"},
		"magic":              {with(0, 'X'), "begins with"},
		"version":            {with(2, 9), "version 9"},
		"type":               {with(3, 31), "unknown type 31"},
		"flags":              {with(4, 0x80), "unknown flags"},
		"both dtypes":        {with(4, 7), "flags 0x7"},
		"no dtype":           {with(4, 4), "flags 0x4"},
		"header length":      {with(22, 41), "a header of 41 bytes"},
		"chunk":              {with(24, 9), "chunk 9 of 9"},
		"body length":        {with(32, 5), "its header says 5"},
		"huge body":          {with(32, 0xff, 0xff, 0xff, 0xff), "at most"},
		"cut body":           {good[:len(good)-1], "its header says 4"},
		"long body":          {append(bytes.Clone(good), 0), "its header says 4"},
		"checksum":           {with(40, 0x81), "checksum"},
		"sum without flag":   {with(4, 2), "without its flag"},
		"dtype of a pull":    {append(append(bytes.Clone(pull[:4]), 5), pull[5:]...), "flags 0x5"},
		"hello beyond 4 KiB": {Encode(Hello{Name: strings.Repeat("x", MaxHello)}), "at most 4096"},
	} {
		if _, err := Parse(c.b); !errors.Is(err, ErrFrame) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", name, err, c.want)
		}
	}
}

func TestBadMessages(t *testing.T) {
	for name, m := range map[string]string{
		"not JSON": "{", "negative slot": `{"slots":[{"slot":-1}]}`, "negative shard": `{"held":[{"shard":-1}]}`, "wrong type": `{"seq":"x"}`,
		"many entries of a confusion matrix": `{"slots":[{"verdicts":[` + strings.Repeat(`{},`, MaxConfusionCounts) + `{}]}]}`,
		"many":                               `{"held":[` + strings.Repeat(`{},`, 5000) + `{}]}`,
	} {
		f := Frame{Header: Header{Type: TypeStatus}, Body: []byte(m)}
		if _, err := Decode(f); !errors.Is(err, ErrFrame) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, m := range []string{`{"kind":4,"to":1}`, `{"kind":32,"from":1,"to":1}`, `{"kind":32,"from":-1,"to":1}`, `{"kind":32,"slot":-1,"to":1}`} {
		if _, err := Decode(Frame{Header: Header{Type: TypePull}, Body: []byte(m)}); !errors.Is(err, ErrFrame) {
			t.Errorf("pull %s: %v", m, err)
		}
	}
	if _, err := Decode(Frame{Header: Header{Type: TypeGradient}}); !errors.Is(err, ErrFrame) {
		t.Errorf("a gradient has no message: %v", err)
	}
}

// FuzzParse: whatever comes, there is an error or a frame that is written as it was read.
func FuzzParse(f *testing.F) {
	for _, b := range goldens() {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := Parse(b)
		if err != nil {
			if !errors.Is(err, ErrFrame) {
				t.Errorf("error %v", err)
			}
			return
		}
		if again := frame.Append(nil); !bytes.Equal(again, b) {
			t.Errorf("%x is written as %x", b, again)
		}
		if m, err := Decode(frame); err == nil {
			Encode(m)
		} else if !errors.Is(err, ErrFrame) {
			t.Errorf("error %v", err)
		}
	})
}
