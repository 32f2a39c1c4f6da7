package job

import (
	"context"

	"llamatab/engine/message"
	"llamatab/engine/replay"
	"llamatab/engine/report"
)

// How a decoding ends, in the words of the OpenAI API and one of our own.
const (
	finishStop      = "stop"      // at a token or text that ends the answer
	finishLength    = "length"    // no more tokens are allowed
	finishCancelled = "cancelled" // the host asked for it
)

// decoding continues one text, token by token.
type decoding struct {
	host    report.Host
	text    *replay.Text
	sampler *replay.TokenSampler
	ids     []int // the tokens of the text so far
	read    int   // how many of them text holds: their keys and values are on the device
	longest int   // the text ends at this number of tokens
	// cancels reports whether a request of the host ends the decoding.
	cancels func(message.Control) bool
	// take gets each new token and reports whether the text ends with it. last: the text may not be longer.
	take func(id int, last bool) bool
}

// run adds tokens until the text ends, and reports why it ended. A round computes the tokens that the device does not hold yet,
// and picks the next token by the logits after the last of them.
func (d *decoding) run(ctx context.Context) (finish string, err error) {
	for len(d.ids) < d.longest {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		if d.cancels(d.host.Control()) {
			return finishCancelled, nil
		}
		logits, err := d.text.Read(d.ids[d.read:])
		if err != nil {
			return "", err
		}
		d.read = len(d.ids)
		id, err := d.sampler.Pick(logits)
		if err != nil {
			return "", err
		}
		d.ids = append(d.ids, id)
		if d.take(id, len(d.ids) == d.longest) {
			return finishStop, nil
		}
	}
	return finishLength, nil
}
