package job

import (
	"context"
	"errors"
	"fmt"
	"io"

	"llamatab/engine/chat"
	"llamatab/engine/message"
	"llamatab/engine/pretrained"
	"llamatab/engine/replay"
	"llamatab/engine/report"
)

// chat answers the conversations that the host hands over, one after another, until no more come or the host says stop. The
// models are loaded once.
func (j *Job) chat(ctx context.Context) error {
	asker, ok := j.Host.(report.Asker)
	if c := j.Job.Chat; !ok || c == nil || c.Context < 1 {
		return report.Fail("job", report.ExitConfig, "Update the page and the program together.", errors.New("chat: the host hands over no conversations, or the context is not given"))
	}
	v := &voices{}
	defer v.free()
	if err := v.open(j); err != nil {
		return err
	}
	if err := v.load(ctx, j, asker); err != nil {
		return err
	}
	report.NewProgress(j.Host, "ready", "", 0)
	for {
		ask, err := asker.Ask()
		if err == io.EOF {
			return nil
		} else if err != nil {
			return report.Fail("job", report.ExitFailed, "Start it again.", fmt.Errorf("chat: %w", err))
		}
		stopped, err := v.answer(ctx, &ask)
		if err != nil || stopped {
			return err
		}
	}
}

// openChat opens the chat template of a model that is to answer conversations, and says why a model cannot.
func openChat(m *pretrained.Model, template string) (*chat.Choice, error) {
	switch {
	case m.Decoder.Classes > 0:
		return nil, report.Fail("model", report.ExitConfig, "llamatab generate labels a text with it.", errors.New("chat: the model tells classes of texts apart, it does not write"))
	case m.Tokenizer == nil:
		return nil, report.Fail("tokenizer", report.ExitConfig, pretrained.ModelHint, errors.New("chat: the model folder has no tokenizer.json"))
	}
	choice, err := m.Chat(template, false)
	return choice, report.Fail("template", report.ExitConfig, "Choose another chat template, or correct the model's.", wrap("chat", err))
}

// wrap puts a prefix before an error, nil for nil.
func wrap(prefix string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", prefix, err)
}

// chatTemplate answers a Template job.
func (j *Job) chatTemplate() (*message.ChatTemplate, error) {
	m, err := pretrained.Open(j.Files, nil, 0)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	template := ""
	if j.Job.Chat != nil {
		template = j.Job.Chat.Template
	}
	choice, err := openChat(m, template)
	if err != nil {
		return nil, err
	}
	answer := &message.ChatTemplate{Name: choice.Template.Name, Own: len(m.ChatNames()) > 0}
	if j.Files.Dataset == nil {
		return answer, nil
	}
	cfg, err := j.parseConfig()
	if err != nil {
		return nil, err
	}
	o := dataOptions(cfg)
	o.Bytes, o.SkipBad = 64<<10, true // the first rows tell
	ds, err := (&replay.Setup{Model: m}).LoadData(o)
	if err != nil {
		return nil, err
	}
	answer.Trained = ds.Chat != nil
	return answer, nil
}
