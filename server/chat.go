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
	model := f.String("model", "", "model `DIR`, or its name on a hub")
	adapter := f.String("adapter", "", "PEFT adapter `DIR`, or its name on a hub")
	system := f.String("system", "", "system prompt `TEXT`")
	var spec message.ChatJob
	f.StringVar(&spec.Template, "template", "", "`NAME` of a built-in chat template in place of the model's own: chatml, llama3, zephyr or plain")
	f.IntVar(&spec.Context, "context", defaultContext, "`number` of tokens of a conversation at most")
	sampling := message.GenerateJob{MaxNewTokens: 512, Temperature: 0.7, TopP: 0.95}
	f.sampling(&sampling)
	asJSON := f.Bool("json", false, "print each answer as a line of JSON")
	browser, hubs := f.browser(), f.hub()
	if err := f.parse(args); err != nil {
		return err
	}
	if err := f.require("model"); err != nil {
		return err
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
	c := &chatter{in: bufio.NewReader(os.Stdin), out: os.Stdout, asJSON: *asJSON, sampling: sampling}
	info, err := os.Stdin.Stat()
	c.person = err == nil && info.Mode()&os.ModeCharDevice != 0
	c.begin(*system)
	if c.talk, err = startTalk(ctx, m, spec, *browser); err != nil {
		return err
	}
	if c.person {
		fmt.Fprint(os.Stderr, chatHelp)
	}
	err = c.run(ctx)
	if closing := c.talk.close(); err == nil {
		err = closing
	}
	return err
}

// chatter is a conversation on a terminal, or of a script.
type chatter struct {
	talk     *talker
	in       *bufio.Reader
	out      io.Writer
	person   bool // somebody types; otherwise an error ends the program
	asJSON   bool
	sampling message.GenerateJob
	system   string
	turns    []turn
}

// begin begins a new conversation.
func (c *chatter) begin(system string) {
	c.system, c.turns = system, nil
	if system != "" {
		c.turns = []turn{{"system", system}}
	}
}

// show writes a piece of an answer as it comes.
func (c *chatter) show(text string) {
	if !c.asJSON {
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
		case <-c.talk.ended:
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
	c.turns = append(c.turns, turn{"user", line})
	all, err := conversation(c.turns)
	if err != nil {
		return err
	}
	reply, err := c.talk.Ask(ctx, message.Ask{Conversation: all, Sampling: c.sampling}, c.show)
	if err != nil {
		c.turns = c.turns[:len(c.turns)-1]
		select {
		case <-c.talk.ended:
			return err
		default:
		}
		if !c.person {
			return err
		}
		fmt.Fprintln(os.Stderr, "llamatab:", err)
		return nil
	}
	if reply.Text == "" { // as if nothing had been asked: templates and models know no empty turn
		c.turns = c.turns[:len(c.turns)-1]
	} else {
		c.turns = append(c.turns, turn{"assistant", reply.Text})
	}
	if c.asJSON {
		return json.NewEncoder(c.out).Encode(struct {
			turn
			Finish       string `json:"finish"`
			PromptTokens int    `json:"prompt_tokens"`
			Tokens       int    `json:"tokens"`
		}{turn{"assistant", reply.Text}, reply.Finish, reply.PromptTokens, reply.Tokens})
	}
	fmt.Fprintln(c.out)
	switch {
	case !c.person:
	case reply.Text == "":
		fmt.Fprintln(os.Stderr, "(no answer: the message is taken back)")
	case reply.Finish == "length":
		fmt.Fprintln(os.Stderr, "(the answer was cut off: --max-new-tokens and --context bound its length)")
	}
	return nil
}
