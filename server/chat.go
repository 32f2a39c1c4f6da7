package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"llamatab/engine/message"
	"llamatab/server/exit"
	"llamatab/server/inputs"
)

// defaultContext is the number of tokens of a conversation at most, where nobody says it.
const defaultContext = 4096

const chatHelp = `Each line is a message; a line that ends in \ goes on in the next. Ctrl-C ends an answer, or the program between answers.
  /new            begin a new conversation
  /system TEXT    begin a new conversation with this system prompt
  /quit           end (so does Ctrl-D)
`

// chatCommand is the command chat: a conversation with a model in its own chat template. Messages come from stdin, one a line.
func chatCommand(ctx context.Context, args []string) error {
	f := newFlagSet("chat")
	model := f.String("model", "", "model `DIR`, a GGUF file, or its name on a hub")
	adapter := f.String("adapter", "", "PEFT adapter `DIR`, or its name on a hub")
	system := f.String("system", "", "system prompt `TEXT`")
	var spec message.ChatJob
	f.StringVar(&spec.Template, "template", "", "`NAME` of a built-in chat template in place of the model's own: chatml, llama3, zephyr or plain")
	f.IntVar(&spec.Context, "context", defaultContext, "`number` of tokens of a conversation at most")
	sampling := message.GenerateJob{MaxNewTokens: 512, Temperature: 0.7, TopP: 0.95}
	f.sampling(&sampling)
	f.BoolVar(&spec.Base, "compare", false, "the model without the adapter answers, too: side by side on a wide terminal, else one after the other")
	asJSON := f.Bool("json", false, "print each answer as a line of JSON")
	browser, hubs := f.browser(), f.hub()
	if err := f.parse(args); err != nil {
		return err
	}
	if err := f.require("model"); err != nil {
		return err
	}
	if spec.Base && *adapter == "" {
		return exit.Usagef("chat: --compare wants --adapter")
	}
	if spec.Context < 2 {
		return exit.Usagef("chat: --context wants 2 or more")
	}
	if err := f.checkSampling(&sampling); err != nil {
		return err
	}
	m := inputs.New("", hubs.finder(ctx))
	if err := m.Model("--model", model); err != nil {
		return err
	}
	if *adapter != "" {
		if err := m.Adapter("--adapter", adapter); err != nil {
			return err
		}
	}
	c := &chatter{in: bufio.NewReader(os.Stdin), out: os.Stdout, asJSON: *asJSON, sampling: sampling, speakers: []*speaker{{}}}
	if spec.Base {
		c.speakers = []*speaker{{name: "base", label: "before"}, {name: "adapter", label: "after"}}
		if width, height := terminalSize(os.Stdout); !c.asJSON {
			c.columns = newColumns(os.Stdout, width, height)
		}
	}
	info, err := os.Stdin.Stat()
	c.person = err == nil && info.Mode()&os.ModeCharDevice != 0
	c.begin(*system)
	talk, err := startTalk(ctx, m, spec, *browser)
	if err != nil {
		return err
	}
	c.talk = talk
	if c.person {
		fmt.Fprint(os.Stderr, chatHelp)
	}
	err = c.run(ctx)
	if closing := talk.close(); err == nil {
		err = closing
	}
	return err
}

// answerer is the models of a conversation.
type answerer interface {
	Ask(ctx context.Context, a message.Ask, each func(text string)) (*message.Reply, error)
	over() <-chan struct{} // closed when they answer no more
	ending() error         // then, why
}

// chatter is a conversation on a terminal, or of a script.
type chatter struct {
	talk     answerer
	in       *bufio.Reader
	out      io.Writer
	person   bool // somebody types; otherwise an error ends the program
	asJSON   bool
	columns  *columns // shows two answers side by side, nil for one after the other
	sampling message.GenerateJob
	system   string
	speakers []*speaker // one, or the base model and then the one with the adapter
}

// speaker is a model that answers, with its own answers in its history.
type speaker struct {
	name  string // in JSON; "" where it is the only one
	label string // before its answers
	turns []turn
}

// begin begins a new conversation.
func (c *chatter) begin(system string) {
	c.system = system
	for _, s := range c.speakers {
		s.turns = nil
		if system != "" {
			s.turns = []turn{{"system", system}}
		}
	}
}

// show writes a piece of an answer as it comes.
func (c *chatter) show(text string) {
	switch {
	case c.asJSON:
	case c.columns != nil:
		c.columns.add(text)
	default:
		fmt.Fprint(c.out, text)
	}
}

// run answers lines until they end.
func (c *chatter) run(ctx context.Context) error {
	lines := make(chan string)
	go c.read(lines)
	for {
		if c.person {
			fmt.Fprint(os.Stderr, "> ")
		}
		select {
		case line, more := <-lines:
			if !more || line == "/quit" {
				return nil
			}
			if err := c.take(ctx, line); err != nil {
				return err
			}
		case <-c.talk.over():
			return c.talk.ending()
		}
	}
}

// read sends the lines of the input, each with those that it goes on in, and closes lines at its end.
func (c *chatter) read(lines chan<- string) {
	defer close(lines)
	var whole strings.Builder
	for {
		line, err := c.in.ReadString('\n')
		line = strings.TrimRight(line, "\r\n")
		if rest, goesOn := strings.CutSuffix(line, "\\"); goesOn && err == nil {
			whole.WriteString(rest + "\n")
			continue
		}
		whole.WriteString(line)
		if strings.TrimSpace(whole.String()) != "" {
			lines <- whole.String()
		}
		whole.Reset()
		if err != nil {
			return
		}
	}
}

// take does what a line asks for.
func (c *chatter) take(ctx context.Context, line string) error {
	word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	switch {
	case word == "/new":
		c.begin(c.system)
		return nil
	case word == "/system":
		c.begin(strings.TrimSpace(rest))
		return nil
	case word == "/help":
		fmt.Fprint(os.Stderr, chatHelp)
		return nil
	}
	if c.columns != nil {
		c.columns.head(c.speakers[0].label, c.speakers[1].label)
		defer c.columns.end()
	}
	for i, s := range c.speakers {
		if i > 0 && c.columns != nil {
			c.columns.turn()
		}
		if err := c.ask(ctx, s, line); err != nil {
			return err
		}
	}
	return nil
}

// ask has a speaker answer a message. A conversation that cannot be answered is told to a person, and ends a script.
func (c *chatter) ask(ctx context.Context, s *speaker, line string) error {
	all, err := conversation(append(s.turns, turn{"user", line}))
	if err != nil {
		return err
	}
	if s.label != "" && !c.asJSON && c.columns == nil {
		fmt.Fprint(c.out, s.label+": ")
	}
	reply, err := c.talk.Ask(ctx, message.Ask{Base: s.name == "base", Conversation: all, Sampling: c.sampling}, c.show)
	if err != nil {
		select {
		case <-c.talk.over():
			return err
		default:
		}
		if !c.person {
			return err
		}
		if c.columns != nil {
			c.columns.add(err.Error())
			return nil
		}
		fmt.Fprintln(os.Stderr, "llamatab:", err)
		return nil
	}
	if reply.Text != "" { // else as if nothing had been asked: templates and models know no empty turn
		s.turns = append(s.turns, turn{"user", line}, turn{"assistant", reply.Text})
	}
	return c.finish(s, reply)
}

// finish ends what is shown of an answer.
func (c *chatter) finish(s *speaker, reply *message.Reply) error {
	if c.asJSON {
		return json.NewEncoder(c.out).Encode(struct {
			Model string `json:"model,omitempty"`
			turn
			Finish       string `json:"finish"`
			PromptTokens int    `json:"prompt_tokens"`
			Tokens       int    `json:"tokens"`
		}{s.name, turn{"assistant", reply.Text}, reply.Finish, reply.PromptTokens, reply.Tokens})
	}
	note := ""
	switch {
	case !c.person:
	case reply.Text == "":
		note = "(no answer: the message is taken back)"
	case reply.Finish == "length":
		note = "(the answer was cut off: --max-new-tokens and --context bound its length)"
	}
	switch {
	case c.columns == nil:
		fmt.Fprintln(c.out)
		if note != "" {
			fmt.Fprintln(os.Stderr, note)
		}
	case note != "":
		c.columns.add("\n" + note)
	}
	return nil
}
