package runner

import (
	"bytes"
	"testing"
	"time"

	"llamatab/engine/message"
)

func TestProgress(t *testing.T) {
	say := []message.Envelope{
		{Progress: &message.Progress{Phase: "load", Detail: "weights", Done: 1e6, Total: 4e6, Unit: "bytes"}},
		{Progress: &message.Progress{Phase: "load", Detail: "weights", Done: 4e6, Total: 4e6, Unit: "bytes"}},
		{Progress: &message.Progress{Phase: "train", Total: 2}},
		{Step: &message.Step{Step: 1, Loss: 2.5, LearningRate: 1e-3, GradNorm: 1, TokensPerSecond: 100, StepSeconds: 3}},
		{Event: &message.Event{Level: "warning", Code: "loss_spike", Message: "loss rose"}},
		{Step: &message.Step{Step: 2, Loss: 2.25, LearningRate: 1e-3, GradNorm: 1, TokensPerSecond: 100, StepSeconds: 3}},
		{Done: &message.Done{}},
	}
	for terminal, want := range map[bool]string{
		false: "load weights\ntrain\n" +
			"step 1/2  loss 2.5000  lr 1.00e-03  grad 1  100 tok/s  3s left\nwarning: loss_spike: loss rose\n" +
			"step 2/2  loss 2.2500  lr 1.00e-03  grad 1  100 tok/s\n",
		true: "\r\x1b[Kload weights  1.0 MB/4.0 MB 25%\r\x1b[Kload weights  4.0 MB/4.0 MB 100%" +
			"\r\x1b[Kstep 1/2  loss 2.5000  lr 1.00e-03  grad 1  100 tok/s  3s left" +
			"\r\x1b[Kwarning: loss_spike: loss rose\n\r\x1b[Kstep 1/2  loss 2.5000  lr 1.00e-03  grad 1  100 tok/s  3s left" +
			"\r\x1b[Kstep 2/2  loss 2.2500  lr 1.00e-03  grad 1  100 tok/s\n",
	} {
		var out bytes.Buffer
		clock := time.Unix(0, 0)
		p := &Progress{out: &out, terminal: terminal, now: func() time.Time { clock = clock.Add(time.Second); return clock }}
		for _, e := range say {
			p.Observe(e)
		}
		if out.String() != want {
			t.Errorf("terminal %v:\n%q\nwant\n%q", terminal, out.String(), want)
		}
	}
}
