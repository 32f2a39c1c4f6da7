// Command llamatab fine-tunes language models in browser tabs. It serves the page, and runs the same engine in a headless
// Chromium for scripts.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"llamatab/server/exit"
)

// command is a command of the program. run gets the arguments after its name.
type command struct {
	name, usage, about string
	run                func(ctx context.Context, args []string) error
}

// commands are listed in the order of the help text. init sets them, because the help of a command reads this variable.
var commands []command

func init() {
	commands = []command{
		{"serve", "[--listen HOST:PORT] [--models DIR] [--data DIR] [--state DIR] [--room-code CODE] [--max-tabs N] [--lan] [--api --model M [--adapter A]] [--hub-endpoint URL] [--offline]", "serve the page (the default command)", serve},
		{"train", "--config run.json --out DIR [--tabs N] [--recipe NAME] [--set path.to.key=value …]", "run a training job headless", train},
		{"recipes", "[--json]", "list the recipes of train and the reason for each", recipes},
		{"eval", "--model M [--adapter A …] --dataset D --out eval.json", "measure the mean loss of a model on a dataset", eval},
		{"generate", "--model M [--adapter A …] --prompt TEXT | --messages FILE [--json]", "continue a prompt or a conversation, or classify a text", generate},
		{"chat", "--model M [--adapter A [--compare]] [--system TEXT] [--json]", "talk with a model in its own chat template; messages come from stdin, one a line", chatCommand},
		{"tokenize", "--model M [--jsonl] [--decode]", "turn lines of stdin into token ids, or ids into text", tokenize},
		{"data", "FILE [--model M] [--format NAME] [--template NAME] [--json]", "say what is in a data file: columns, rows, tokens, problems by line, and the first rows as the model sees them; needs no browser", dataCommand},
		{"export", "--model M [--adapter A] --format peft|merged --out DIR", "write an adapter alone, or a model with the adapter merged in", export},
		{"import-config", "FILE [-o run.json] [--from NAME] [--model M] [--dataset D]", "turn settings for axolotl, LLaMA-Factory or TRL into a run.json", importConfig},
		{"plan", "--config run.json | --model NAME [--method M] | --models", "forecast memory, traffic and time of a run, or compare the methods for a known model; needs no browser", plan},
		{"pull", "org/name[@revision] | ADDRESS [--hub-endpoint URL]", "fetch a model or an adapter from a hub into the cache", pull},
		{"models", "[--verify] [--remove NAME] [--json]", "list, verify or remove the models and adapters in the cache", models},
		{"room", "verify|repair|replay DIR", "check the stored state of a room, cut off what is damaged of its log, or compute its decisions again", roomCommand},
		{"bench", "[--json]", "measure the GPU adapter and the engine's speed on it", bench},
		{"doctor", "[--json]", "find the browser and its GPU adapter, and report what is missing", doctor},
	}
}

func main() {
	err := dispatch(context.Background(), os.Args[1:])
	if err != nil && !exit.Silent(err) {
		fmt.Fprintln(os.Stderr, "llamatab:", err)
	}
	os.Exit(exit.Code(err))
}

func dispatch(ctx context.Context, args []string) error {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") && !isHelp(args[0]) {
		return quietHelp(serve(ctx, args))
	}
	if isHelp(args[0]) {
		help(os.Stdout)
		return nil
	}
	for _, c := range commands {
		if c.name == args[0] {
			return quietHelp(c.run(ctx, args[1:]))
		}
	}
	return exit.Usagef("unknown command %q; llamatab --help lists them", args[0])
}

func quietHelp(err error) error {
	if errors.Is(err, flag.ErrHelp) {
		return nil // the help has been printed
	}
	return err
}

func isHelp(arg string) bool {
	return arg == "help" || arg == "--help" || arg == "-help" || arg == "-h"
}

func help(w io.Writer) {
	fmt.Fprint(w, "llamatab fine-tunes Llama-family models on the GPU of a browser tab.\n\nusage: llamatab [COMMAND] [OPTIONS]\n\n")
	for _, c := range commands {
		fmt.Fprintf(w, "  %-13s %s\n", c.name, c.about)
	}
	fmt.Fprint(w, `
llamatab COMMAND --help lists a command's options. Each option can also be given in the environment:
--adapter-backend as LLAMATAB_ADAPTER_BACKEND.

exit codes: 0 done, 1 the run failed, 2 usage or config, 3 no usable browser or adapter, 130 interrupted
`)
}
