package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"llamatab/engine/message"
	memory "llamatab/engine/plan"
	"llamatab/server/exit"
	"llamatab/server/runner"
)

// flagSet is the options of a command. Each option can also be set in the environment.
type flagSet struct {
	*flag.FlagSet
	command command
	later   map[string]string // options that only other versions or commands have → their purpose
	operand *string           // the one argument that is no option, anywhere among them; nil where the command has none
}

// newFlagSet makes the options of the command of that name, with none yet.
func newFlagSet(name string) *flagSet {
	f := &flagSet{FlagSet: flag.NewFlagSet(name, flag.ContinueOnError), later: map[string]string{}}
	for _, c := range commands {
		if c.name == name {
			f.command = c
		}
	}
	f.SetOutput(io.Discard) // parse prints errors itself
	return f
}

// parse reads the arguments, and takes options that they leave open from the environment. After --help it prints the help
// and returns flag.ErrHelp.
func (f *flagSet) parse(args []string) error {
	for _, arg := range args {
		if arg == "--" {
			break
		}
		name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if what, ok := f.later[name]; ok && f.Lookup(name) == nil && strings.HasPrefix(arg, "-") {
			return exit.Usagef("%s: --%s: %s is not available in this version", f.Name(), name, what)
		}
	}
	err := f.Parse(args)
	for err == nil && f.operand != nil && *f.operand == "" && f.NArg() > 0 {
		*f.operand = f.Arg(0)
		err = f.Parse(f.Args()[1:])
	}
	if errors.Is(err, flag.ErrHelp) {
		f.help(os.Stdout)
		return err
	} else if err != nil {
		return exit.Usagef("%s: %v; llamatab %s --help lists the options", f.Name(), err, f.Name())
	}
	if f.NArg() > 0 {
		return exit.Usagef("%s: unexpected argument %q; llamatab %s --help lists the options", f.Name(), f.Arg(0), f.Name())
	}
	given := f.given()
	var bad error
	f.VisitAll(func(option *flag.Flag) {
		variable := "LLAMATAB_" + strings.ToUpper(strings.ReplaceAll(option.Name, "-", "_"))
		if value, ok := os.LookupEnv(variable); ok && !given[option.Name] {
			if err := f.Set(option.Name, value); err != nil && bad == nil {
				bad = exit.Usagef("%s=%q: %v", variable, value, err)
			}
		}
	})
	return bad
}

// given are the names of the options that were set.
func (f *flagSet) given() map[string]bool {
	given := map[string]bool{}
	f.Visit(func(option *flag.Flag) { given[option.Name] = true })
	return given
}

// require checks that the named options are not empty.
func (f *flagSet) require(names ...string) error {
	for _, name := range names {
		if f.Lookup(name).Value.String() == "" {
			return exit.Usagef("%s: --%s is missing; llamatab %s --help lists the options", f.Name(), name, f.Name())
		}
	}
	return nil
}

func (f *flagSet) help(w io.Writer) {
	fmt.Fprintf(w, "usage: llamatab %s %s\n\n%s\n\n", f.command.name, f.command.usage, f.command.about)
	f.VisitAll(func(option *flag.Flag) {
		argument, about := flag.UnquoteUsage(option)
		if argument != "" {
			argument = " " + argument
		}
		fmt.Fprintf(w, "  --%s%s\n        %s", option.Name, argument, about)
		if !slices.Contains([]string{"", "false", "0", "[]"}, option.DefValue) {
			fmt.Fprintf(w, " (default %s)", option.DefValue)
		}
		fmt.Fprintln(w)
	})
}

// list is the values of an option that may be given several times.
type list []string

func (l *list) String() string {
	if l == nil || len(*l) == 0 {
		return ""
	}
	return strings.Join(*l, " ")
}

func (l *list) Set(value string) error {
	*l = append(*l, value)
	return nil
}

// browser registers the options of every command that needs a browser.
func (f *flagSet) browser() *runner.Browser {
	b := new(runner.Browser)
	f.StringVar(&b.Chrome, "chrome", "", "Chromium or Chrome `PROGRAM` to use (default: $CHROME, else the first found)")
	f.Func("adapter-backend", "the adapter that Chromium uses: default for the GPU, `swiftshader` for its software adapter (default: the GPU where there is one)", func(s string) error {
		if s != "" && s != "default" && s != "swiftshader" {
			return fmt.Errorf("%q is neither default nor swiftshader", s)
		}
		b.Backend = s
		return nil
	})
	f.later["room-code"], f.later["max-tabs"], f.later["lan"] = "rooms, which serve opens", "rooms, which serve opens", "serving other machines, which serve does"
	return b
}

// sampling registers the options of how tokens are picked. Their defaults are what g holds.
func (f *flagSet) sampling(g *message.GenerateJob) {
	f.IntVar(&g.MaxNewTokens, "max-new-tokens", g.MaxNewTokens, "`number` of new tokens at most")
	f.Float64Var(&g.Temperature, "temperature", g.Temperature, "sampling temperature `T`; 0 takes the likeliest token")
	f.Float64Var(&g.TopP, "top-p", g.TopP, "sample among the likeliest tokens that hold this `share` of the probability")
	f.IntVar(&g.TopK, "top-k", g.TopK, "sample among this `number` of likeliest tokens; 0 takes all")
	f.Uint64Var(&g.Seed, "seed", g.Seed, "`seed` of the random numbers: the same input gets the same text")
}

// checkSampling says which of the options of sampling is out of range.
func (f *flagSet) checkSampling(g *message.GenerateJob) error {
	switch {
	case g.MaxNewTokens < 1:
		return exit.Usagef("%s: --max-new-tokens wants 1 or more", f.Name())
	case !(g.Temperature >= 0):
		return exit.Usagef("%s: --temperature wants 0 or more", f.Name())
	case !(g.TopP > 0 && g.TopP <= 1):
		return exit.Usagef("%s: --top-p wants more than 0 and at most 1", f.Name())
	case g.TopK < 0:
		return exit.Usagef("%s: --top-k wants 0 or more", f.Name())
	}
	return nil
}

// bytesFlag is an option in bytes, given as "4GiB", "512MiB" or "1500000000".
type bytesFlag int64

func (b *bytesFlag) String() string {
	if b == nil || *b == 0 {
		return ""
	}
	return memory.Bytes(int64(*b))
}

func (b *bytesFlag) Set(value string) error {
	number, scale := strings.TrimSpace(value), int64(1)
	for _, unit := range []struct {
		name  string
		scale int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1}} {
		if cut, ok := strings.CutSuffix(number, unit.name); ok {
			number, scale = strings.TrimSpace(cut), unit.scale
			break
		}
	}
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || !(v > 0) || v*float64(scale) > 1<<50 {
		return fmt.Errorf("%q is not an amount of memory such as 4GiB", value)
	}
	*b = bytesFlag(v * float64(scale))
	return nil
}

// budget registers the option that bounds the GPU memory of a run.
func (f *flagSet) budget() *bytesFlag {
	b := new(bytesFlag)
	f.Var(b, "memory-budget", "refuse a run whose plan takes more GPU memory than this `SIZE`, such as 4GiB")
	return b
}
