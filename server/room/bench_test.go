package room

import (
	"fmt"
	"testing"
	"time"

	"github.com/coder/websocket"

	"llamatab/engine/fsdp"
	"llamatab/engine/tensor"
)

// BenchmarkSockets has tabs send gradients of 8 Mi parameters in bfloat16 through sockets, checks, inbox and fold, as
// fast as the room pulls; the bytes are those of gradients. Commits of a step's 32 MiB to disk are in it.
func BenchmarkSockets(b *testing.B) {
	for _, tabs := range []int{1, 4} {
		b.Run(fmt.Sprintf("%d tabs", tabs), func(b *testing.B) {
			t := &testing.T{}
			site := &site{t: t, dir: b.TempDir()}
			site.start()
			defer site.stop()
			const n = 8 << 20
			cfg := toyConfig(fsdp.NoShard, 1<<20)
			cfg.Run.Params = []fsdp.Param{{Name: "a", Shape: tensor.Of(n), Unit: "u"}}
			cfg.Run.Slots, cfg.Run.Piece, cfg.Run.Window, cfg.Run.Checkpoint, cfg.MinTabs = 4, fsdp.DefaultPiece, 8, 1<<19, tabs
			code, _ := site.open("bench", cfg)
			for range tabs {
				control, data, _, err := site.join("bench", fsdp.Hello{Code: code})
				if err != nil {
					b.Fatal(err)
				}
				defer control.CloseNow()
				defer data.CloseNow()
				go answerAll(control, data)
			}
			h := site.rooms.Find("bench")
			count := func() int64 {
				h.mu.Lock()
				defer h.mu.Unlock()
				return h.room.Stats.BytesIn
			}
			for count() == 0 {
				time.Sleep(time.Millisecond)
			}
			b.ResetTimer()
			from, begin := count(), time.Now()
			for b.Loop() {
				for at := count(); count() < at+16<<20; {
					time.Sleep(time.Millisecond)
				}
			}
			b.ReportMetric(float64(count()-from)/time.Since(begin).Seconds()/1e6, "MB/s")
		})
	}
}

// answerAll is a tab that has every slot ready at once and every version applied.
func answerAll(control, data *websocket.Conn) {
	seq := uint64(0)
	body := make([]byte, 2*fsdp.DefaultPiece)
	var o fsdp.Orders
	status := func() {
		seq++
		s := fsdp.Status{Seq: seq, Seen: o.Seq, Held: []fsdp.Held{{Shard: 0, Version: o.Version}}}
		for _, w := range o.Work {
			s.Slots = append(s.Slots, fsdp.Ready{Work: w, Loss: 1, Tokens: 1})
		}
		say(control, fsdp.Encode(s))
	}
	status()
	for {
		f, err := hear(control)
		if err != nil {
			return
		}
		m, err := fsdp.Decode(f)
		if err != nil {
			return
		}
		switch m := m.(type) {
		case fsdp.Orders:
			o = m
			status()
		case fsdp.Pull:
			for i := m.From; i < m.To; i++ {
				f := fsdp.Frame{Header: fsdp.Header{Type: fsdp.TypeGradient, Flags: fsdp.FlagBF16, Slot: uint16(m.Slot), Epoch: m.Epoch, Step: m.Step, Chunk: uint32(i), Chunks: uint32(m.To)}, Body: body}
				if say(data, f.Append(nil)) != nil {
					return
				}
			}
		}
	}
}
