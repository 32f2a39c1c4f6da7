package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"llamatab/engine/message"
	"llamatab/server/exit"
	"llamatab/server/inputs"
	"llamatab/server/runner"
)

// generate is the command generate. A classifier labels the prompt instead of continuing it.
func generate(ctx context.Context, args []string) error {
	f := newFlagSet("generate")
	model := f.String("model", "", "model `DIR`")
	var adapters list
	f.Var(&adapters, "adapter", "PEFT adapter `DIR`; several are compared with each other and with the base model")
	var spec message.GenerateJob
	f.StringVar(&spec.Prompt, "prompt", "", "`TEXT` to continue, or to classify where the model is a classifier")
	f.IntVar(&spec.MaxNewTokens, "max-new-tokens", 50, "`number` of new tokens at most")
	f.Float64Var(&spec.Temperature, "temperature", 0, "sampling temperature `T`; 0 takes the likeliest token")
	f.Float64Var(&spec.TopP, "top-p", 1, "sample among the likeliest tokens that hold this `share` of the probability")
	f.IntVar(&spec.TopK, "top-k", 0, "sample among this `number` of likeliest tokens; 0 takes all")
	f.Uint64Var(&spec.Seed, "seed", 0, "`seed` of the random numbers")
	asJSON := f.Bool("json", false, "print one JSON object with the token ids, or with the probabilities of the labels")
	browser := f.browser()
	if err := f.parse(args); err != nil {
		return err
	}
	if err := f.require("model"); err != nil {
		return err
	}
	switch {
	case spec.MaxNewTokens < 1:
		return exit.Usagef("generate: --max-new-tokens wants 1 or more")
	case !(spec.Temperature >= 0):
		return exit.Usagef("generate: --temperature wants 0 or more")
	case !(spec.TopP > 0 && spec.TopP <= 1):
		return exit.Usagef("generate: --top-p wants more than 0 and at most 1")
	case spec.TopK < 0:
		return exit.Usagef("generate: --top-k wants 0 or more")
	}
	m := inputs.New("")
	if err := m.Model("--model", model); err != nil {
		return err
	}
	compare, err := m.Adapters("--adapter", adapters)
	if err != nil {
		return err
	}

	j := m.Into(message.Job{Command: message.Generate, Generate: &spec, Compare: compare})
	if *asJSON {
		return runner.ForResult(ctx, j, *browser, "")
	}
	show, streamed := runner.NewProgress(), false
	type text struct {
		Name string `json:"name"`
		Text string `json:"text"`
	}
	var result struct {
		text
		Base     text   `json:"base"` // of a comparison, with what follows
		Adapters []text `json:"adapters"`

		Scores []message.Score `json:"scores"` // of a classifier
	}
	j.Observe = func(e message.Envelope) {
		switch {
		case e.Token != nil:
			show.Clear()
			fmt.Print(e.Token.Text)
			streamed = true
		case e.Result != nil:
			json.Unmarshal(e.Result, &result) // shape checked by the text being there
		default:
			show.Observe(e)
		}
	}
	err = runner.Start(ctx, runner.Run{Job: j, Browser: *browser})
	if streamed {
		fmt.Println()
	} else if err == nil && compare != nil {
		result.Base.Name = "without an adapter"
		for _, t := range append([]text{result.Base}, result.Adapters...) {
			fmt.Fprintf(os.Stdout, "== %s\n%s\n\n", t.Name, t.Text)
		}
	} else if err == nil && result.Scores != nil {
		for _, s := range result.Scores {
			fmt.Fprintf(os.Stdout, "%-12s %5.1f %%\n", s.Label, 100*float64(s.Score))
		}
	} else if err == nil {
		fmt.Fprintln(os.Stdout, result.Text)
	}
	return err
}
