package data

import (
	"errors"
	"fmt"
	"slices"

	"llamatab/engine/config"
	"llamatab/engine/message"
)

func init() { Register(tokensFormat) }

// tokensFormat is {"input_ids": […], "labels": […]}, used exactly as it stands. Without labels every token is trained.
var tokensFormat = Format{
	Config:       config.Format{Name: "tokens", Place: 80, Title: message.Both("token ids", "词元编号"), Columns: []string{"input_ids", "label"}, Optional: []string{"label"}},
	Turn:         10,
	Classifiable: true,
	Detect:       has("input_ids"),
	Rows: func(r *Record, e *Encoder) error {
		ids, err := e.ids(r)
		if err != nil {
			return err
		}
		labels := ids
		if r.Has("labels") {
			if labels, err = r.Ints("labels"); err != nil {
				return err
			}
			if len(labels) != len(ids) {
				return fault("row_labels", "{labels} labels for {ids} input_ids", "labels", len(labels), "ids", len(ids))
			}
			for i, label := range labels {
				if err := e.check(int(label)); err != nil && label != Ignore {
					return fmt.Errorf("labels[%d]: %w (%d leaves a token out)", i, err, Ignore)
				}
			}
		}
		if r.Has("attention_mask") {
			mask, err := r.Ints("attention_mask")
			if err != nil {
				return err
			}
			if len(mask) != len(ids) || slices.ContainsFunc(mask, func(m int32) bool { return m != 1 }) {
				return errors.New("attention_mask hides tokens: leave the padding out, rows are padded here")
			}
		}
		return e.add(Sample{IDs: ids, Labels: labels})
	},
}

// ids are the tokens of a row that holds them.
func (e *Encoder) ids(r *Record) ([]int32, error) {
	ids, err := r.Ints("input_ids")
	if err != nil {
		return nil, err
	}
	switch {
	case len(ids) == 0:
		return nil, errors.New("input_ids is empty")
	case e.opt.Context > 0 && len(ids) > e.opt.Context:
		return nil, fmt.Errorf("a row of %d tokens, more than the model's context of %d; rows of tokens are never cut", len(ids), e.opt.Context)
	}
	for i, id := range ids {
		if err := e.check(int(id)); err != nil {
			return nil, fmt.Errorf("input_ids[%d]: %w", i, err)
		}
	}
	return ids, nil
}
