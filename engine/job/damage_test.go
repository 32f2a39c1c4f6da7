package job_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"llamatab/engine/device"
	"llamatab/engine/enginetest"
	"llamatab/engine/job"
	"llamatab/engine/message"
	"llamatab/engine/report"
)

// A checkpoint whose bytes are not those that were written is refused, whichever bit of whichever file is another one and
// wherever a file is cut. The message names the file.
func TestDamagedCheckpoint(t *testing.T) {
	files := report.Files{Model: tiny(t, true, false, nil), Dataset: rows(8, 8, 8, 8)}
	for _, method := range []string{lora, full} {
		settings := []string{method, "training.save_steps=2", steps(4)}
		checkpoint := must(t, newJob(t, files, settings...)).folder("checkpoint-2")
		with := func(name string, data []byte) report.Files {
			c := fstest.MapFS{name: &fstest.MapFile{Data: data}}
			for n, f := range checkpoint {
				if n != name {
					c[n] = f
				}
			}
			f := files
			f.Resume = c
			return f
		}
		for name, file := range checkpoint {
			stride := max(1, len(file.Data)/12)
			for i := 0; i < len(file.Data); i += stride {
				flipped := slices.Clone(file.Data)
				flipped[i] ^= 1 << (i % 5) // the sixth bit of a letter is its case, which is the same key of JSON
				f := failure(newJob(t, with(name, flipped), settings...))
				if f == nil || f.Next == "" || name != "checksums.json" && (f.Code != "damaged" || !strings.Contains(f.Message, name)) {
					t.Fatalf("%s of %s with another bit in byte %d: %+v", name, method, i, f)
				}
				f = failure(newJob(t, with(name, file.Data[:i]), settings...))
				if f == nil || f.Next == "" || f.Code != "damaged" {
					t.Fatalf("%s of %s cut after %d bytes: %+v", name, method, i, f)
				}
			}
		}
		delete(checkpoint, "checksums.json")
		again := files
		again.Resume = checkpoint
		if told := must(t, newJob(t, again, settings...)).events("checkpoint_unchecked"); len(told) != 1 {
			t.Errorf("a checkpoint without checksums: %d remarks", len(told))
		}
	}
}

// failure runs a job and returns how it failed, nil where it did not.
func failure(j *job.Job) *message.Failed {
	h := j.Host.(*host)
	if job.Run(context.Background(), j) == nil {
		return nil
	}
	return h.sent[len(h.sent)-1].Failed
}

// rotting is a host on whose storage a bit of a file changes once its folder has been committed.
type rotting struct {
	*host
	file string
	gone bool // instead, the whole folder is lost
}

func (r *rotting) Commit(path string) error {
	err := r.host.Commit(path)
	if dir, _, _ := strings.Cut(r.file, "/"); err == nil && dir == path {
		if r.gone {
			return r.host.Remove(path)
		}
		r.host.files[r.file] = slices.Clone(r.host.files[r.file])
		r.host.files[r.file][len(r.host.files[r.file])/2] ^= 4
	}
	return err
}

// A run that goes back passes over a checkpoint that is damaged or gone, says so, and has the bits of an undisturbed run.
func TestRunPassesDamagedCheckpoint(t *testing.T) {
	files := report.Files{Model: tiny(t, true, false, nil), Dataset: rows(8, 8, 8, 8, 8, 8)}
	for _, c := range []struct {
		file string
		gone bool
		back int // step that the run goes on from
	}{
		{"checkpoint-4/optimizer.safetensors", false, 2},
		{"checkpoint-4/trainer_state.json", false, 2},
		{"checkpoint-4/adapter_model.safetensors", true, 2},
		{"checkpoint-2/adapter_model.safetensors", false, 4},
	} {
		run := func(die int, rot string) *host {
			j := newJob(t, files, lora, "training.save_steps=2", "training.per_device_train_batch_size=1", steps(6))
			count := 0
			j.Open = func(device.Limits) (device.Device, error) {
				d := enginetest.Open(t)
				if d.Info().Backend == "cpu" {
					d = newSingle()
				}
				return &mortal{d, &count, func(n int) bool { return n == die }}, nil
			}
			h := newHost()
			j.Host = &rotting{h, rot, c.gone}
			if err := job.Run(context.Background(), j); err != nil {
				t.Fatal(err)
			}
			return h
		}
		want, got := run(-1, ""), run(6, c.file)
		passed, back := got.events("checkpoint_damaged"), got.events("device_recovered")
		if len(back) != 1 || back[0].Data["to"] != c.back {
			t.Errorf("%s: recovered %+v, want from step %d", c.file, back, c.back)
		}
		if dir, _, _ := strings.Cut(c.file, "/"); (c.back == 2) != (len(passed) == 1 && passed[0].Data["path"] == dir) {
			t.Errorf("%s: passed over %+v", c.file, passed)
		}
		sameFiles(t, got, want, "adapter/")
	}
}

// The best weights that are damaged when the run ends do not become the result, and the run says so.
func TestDamagedBest(t *testing.T) {
	files := report.Files{Model: tiny(t, true, false, nil), Dataset: rows(8, 9, 10, 11, 12, 13, 14, 15)}
	sets := []string{lora, steps(6), "dataset.validation_split=0.25", "training.eval_steps=2"}
	plain := must(t, newJob(t, files, sets...))
	j := newJob(t, files, append(sets, "training.load_best_model_at_end=true")...)
	h := newHost()
	j.Host = &rotting{h, "best/adapter_model.safetensors", false}
	if err := job.Run(context.Background(), j); err != nil {
		t.Fatal(err)
	}
	if told := h.events("best_model_damaged"); len(told) != 1 || !strings.Contains(told[0].Message, "adapter_model.safetensors") {
		t.Errorf("events %+v", told)
	}
	sameFiles(t, h, plain, "adapter/")
}
