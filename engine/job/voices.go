package job

import (
	"context"
	"errors"

	"llamatab/engine/chat"
	"llamatab/engine/device"
	"llamatab/engine/forecast"
	"llamatab/engine/memory"
	"llamatab/engine/message"
	"llamatab/engine/pretrained"
	"llamatab/engine/replay"
	"llamatab/engine/report"
)

// voices are the models of a chat: the one that was trained, and the base model where the chat compares with it. They are on one
// device at the same time. A base model from which the trained one differs only by an adapter has the same parameters on the
// device: they are loaded once.
type voices struct {
	trained, base *voice // base is nil where the chat does not compare
	dev           device.Device
}

// voice is one model of a chat.
type voice struct {
	setup   *replay.Setup
	adapter *pretrained.Adapter // in use while the voice speaks, nil for none
	choice  *chat.Choice        // the chat template of conversations without tools
	params  *memory.Parameters
	stepper *replay.Stepper
	talk    *talk
}

// use makes the model of the voice compute with its adapter. Two voices may have one model.
func (v *voice) use() { v.setup.Model.Use(v.adapter) }

// open opens the models of a chat job and their chat templates.
func (v *voices) open(j *Job) error {
	s, err := j.openModel()
	if err != nil {
		return err
	}
	v.trained = &voice{setup: s, adapter: s.Model.Adapter}
	if err := v.trained.open(j); err != nil || !j.Job.Chat.Base {
		return err
	}
	m := s.Model
	switch {
	case j.Files.Base == nil && m.Adapter == nil:
		return report.Fail("job", report.ExitConfig, "Give an adapter.", errors.New("chat: there is no adapter, and so nothing to compare with the model"))
	case j.Files.Base == nil && m.ChangesBase(m.Adapter) == "" && m.Decoder.Added == nil:
		shared := *s
		v.base = &voice{setup: &shared, choice: v.trained.choice}
		return nil
	}
	files := report.Files{Model: j.Files.Base, Tokenizer: j.Files.Tokenizer}
	if files.Model == nil {
		files.Model = j.Files.Model
	}
	before := *j
	before.Files = files
	if s, err = before.openModel(); err != nil {
		return err
	}
	v.base = &voice{setup: s}
	return v.base.open(j)
}

// open prepares the voice's model to answer conversations.
func (v *voice) open(j *Job) (err error) {
	m := v.setup.Model
	m.Freeze()
	if err := m.CheckWeights(); err != nil {
		return err
	}
	if v.choice, err = openChat(m, j.Job.Chat.Template); err != nil {
		return err
	}
	if v.choice.StandIn {
		m.Remarks = append(m.Remarks, message.NewRemark("chat_template_stand_in", "the model has no chat template: the built-in one called {name} stands in", "name", v.choice.Template.Name))
	}
	v.setup.Decodes, v.setup.Lengths = true, []int{min(j.Job.Chat.Context, m.Decoder.MaxPositions-m.LongestPrefix())}
	return nil
}

// sharesParameters reports whether the base model's parameters are those of the trained one.
func (v *voices) sharesParameters() bool {
	return v.base != nil && v.base.setup.Model == v.trained.setup.Model
}

// load plans the memory of all voices together, opens a device and loads them.
func (v *voices) load(ctx context.Context, j *Job, host report.Asker) (err error) {
	if v.base != nil {
		v.base.use()
		if err := v.base.setup.Plan(); err != nil {
			return err
		}
		beside := v.base.setup.Memory.Specs
		if v.sharesParameters() {
			beside = v.base.setup.WorkingSpecs()
		}
		v.trained.setup.Beside = beside
	}
	v.trained.use()
	if v.dev, err = j.open(v.trained.setup); err != nil {
		return err
	}
	if err := v.trained.load(j, v.dev); err != nil {
		return err
	}
	if err := v.trained.begin(j, host, v.dev, nil); err != nil || v.base == nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	b := v.base
	b.use()
	if err := forecast.Fit(b.setup, v.dev.Limits(), j.Budget); err != nil {
		return err
	}
	if v.sharesParameters() {
		b.params = v.trained.params
	} else if err := b.load(j, v.dev); err != nil {
		return err
	}
	return b.begin(j, host, v.dev, v.trained.stepper.Table())
}

// load loads the parameters of the voice's model.
func (v *voice) load(j *Job, dev device.Device) (err error) {
	if v.params, err = memory.New(dev, v.setup.Layout, false); err != nil {
		return err
	}
	return v.params.Load(v.setup.Model, v.setup.Model.Params(), j.Host)
}

// begin begins an empty text. table is the choice of kernel variants of the other voice, nil for none.
func (v *voice) begin(j *Job, host report.Asker, dev device.Device, table map[string]string) (err error) {
	if v.stepper, err = replay.NewStepper(v.setup, dev, v.params, j.Host, table); err != nil {
		return err
	}
	text, err := replay.NewText(v.stepper)
	if err != nil {
		return err
	}
	v.talk = &talk{host: host, setup: v.setup, text: text, template: j.Job.Chat.Template, choices: map[bool]*chat.Choice{false: v.choice}}
	return nil
}

// answer has the voice that is asked write the assistant's next turn. stopped: the host wants the job to end.
func (v *voices) answer(ctx context.Context, ask *message.Ask) (stopped bool, err error) {
	speaks := v.trained
	if ask.Base {
		speaks = v.base
	}
	if speaks == nil {
		err := report.Fail("job", report.ExitConfig, "Update the page and the program together.", errors.New("chat: the base model was not loaded"))
		v.trained.talk.fail(err)
		return false, nil
	}
	speaks.use()
	return speaks.talk.answer(ctx, ask)
}

// free releases all that open and load have opened, also where they have failed.
func (v *voices) free() {
	for _, one := range []*voice{v.base, v.trained} {
		if one == nil {
			continue
		}
		if one.talk != nil {
			one.talk.text.Free()
		}
		if one.stepper != nil {
			one.stepper.Free()
		}
		if one.params != nil && (one == v.trained || !v.sharesParameters()) {
			one.params.Free()
		}
		if one == v.trained || !v.sharesParameters() {
			one.setup.Model.Close()
		}
	}
	if v.dev != nil {
		v.dev.Close()
	}
}
