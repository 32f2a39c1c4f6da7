package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"llamatab/engine/message"
	"llamatab/server/exit"
	"llamatab/server/inputs"
	"llamatab/server/job"
	"llamatab/server/runner"
)

// generate is the command generate. A classifier labels the prompt instead of continuing it.
func generate(ctx context.Context, args []string) error {
	f := newFlagSet("generate")
	model := f.String("model", "", "model `DIR`, a GGUF file, or its name on a hub")
	var adapters list
	f.Var(&adapters, "adapter", "PEFT adapter `DIR`, or its name on a hub; several are compared with each other and with the base model")
	var spec message.GenerateJob
	f.StringVar(&spec.Prompt, "prompt", "", "`TEXT` to continue, or to classify where the model is a classifier")
	messages := f.String("messages", "", "JSON `FILE` with a list of {\"role\", \"content\"} that the assistant continues, by the model's chat template")
	spec.MaxNewTokens, spec.TopP = 50, 1
	f.sampling(&spec)
	asJSON := f.Bool("json", false, "print one JSON object with the token ids, or with the probabilities of the labels")
	browser, hubs := f.browser(), f.hub()
	if err := f.parse(args); err != nil {
		return err
	}
	if err := f.require("model"); err != nil {
		return err
	}
	if err := f.checkSampling(&spec); err != nil {
		return err
	}
	if *messages != "" {
		if spec.Prompt != "" {
			return exit.Usagef("generate: --prompt and --messages exclude each other")
		}
		text, err := os.ReadFile(*messages)
		if err != nil {
			return exit.Usagef("generate: --messages: %v", err)
		}
		if !json.Valid(text) {
			return exit.Usagef("generate: --messages: %s is no JSON", *messages)
		}
		spec.Messages = text
	}
	m := inputs.New("", hubs.finder(ctx))
	if err := m.Model("--model", model); err != nil {
		return err
	}
	compare, err := m.Adapters("--adapter", adapters)
	if err != nil {
		return err
	}

	j := m.Into(message.Job{Command: message.Generate, Generate: &spec, Compare: compare})
	if err := precheck(ctx, j.Spec, m); err != nil {
		return err
	}
	if *asJSON {
		return runner.ForResult(ctx, j, *browser, "")
	}
	return generateText(ctx, j, *browser)
}

// generatedText is a text of a result, with the adapter that it comes from.
type generatedText struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// generated is the result of a generate job in all its forms.
type generated struct {
	generatedText                 // of a model with one adapter or none
	Base          generatedText   `json:"base"`     // with several adapters: the base model's
	Adapters      []generatedText `json:"adapters"` // with several adapters: each one's
	Scores        []message.Score `json:"scores"`   // of a classifier
}

// generateText runs the job and prints its result for people. Tokens are printed as they come.
func generateText(ctx context.Context, j *job.Job, browser runner.Browser) error {
	progress, streamed := runner.NewProgress(), false
	var result generated
	var broken error
	j.Observe = func(e message.Envelope) {
		switch {
		case e.Token != nil:
			progress.Clear()
			fmt.Print(e.Token.Text)
			streamed = true
		case e.Result != nil:
			broken = json.Unmarshal(e.Result, &result)
		default:
			progress.Observe(e)
		}
	}
	err := runner.Start(ctx, runner.Run{Job: j, Browser: browser})
	if streamed {
		fmt.Println()
		return err
	}
	if err != nil {
		return err
	}
	if broken != nil {
		return fmt.Errorf("the engine's result: %w", broken)
	}
	result.print(os.Stdout)
	return nil
}

func (g *generated) print(w io.Writer) {
	switch {
	case g.Adapters != nil:
		fmt.Fprintf(w, "== without an adapter\n%s\n\n", g.Base.Text)
		for _, t := range g.Adapters {
			fmt.Fprintf(w, "== %s\n%s\n\n", t.Name, t.Text)
		}
	case g.Scores != nil:
		for _, s := range g.Scores {
			fmt.Fprintf(w, "%-12s %5.1f %%\n", s.Label, 100*float64(s.Score))
		}
	default:
		fmt.Fprintln(w, g.Text)
	}
}
