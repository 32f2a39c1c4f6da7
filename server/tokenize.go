package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"llamatab/engine/gguf"
	"llamatab/engine/strictjson"
	"llamatab/engine/tokenizer"
	"llamatab/server/exit"
	"llamatab/server/inputs"
)

// tokenize is the command tokenize.
func tokenize(ctx context.Context, args []string) error {
	f := newFlagSet("tokenize")
	model := f.String("model", "", "model `DIR`, a GGUF file, its name on a hub, or a tokenizer.json")
	lines := f.Bool("jsonl", false, "each line of stdin, or of stdout with --decode, is a JSON string")
	decode := f.Bool("decode", false, "read JSON arrays of ids and write text")
	hubs := f.hub()
	if err := f.parse(args); err != nil {
		return err
	}
	if err := f.require("model"); err != nil {
		return err
	}
	if err := inputs.New("", hubs.finder(ctx)).ResolveModel("--model", model); err != nil {
		return err
	}
	t, err := openTokenizer(*model)
	if err != nil {
		return err
	}
	for _, r := range t.Remarks() {
		fmt.Fprintln(os.Stderr, "warning:", r.Message)
	}
	return tokenizeLines(t, os.Stdin, os.Stdout, *lines, *decode)
}

// openTokenizer opens the tokenizer of a model folder with the files beside its tokenizer.json, as a run and generate do, that of a
// GGUF file, or a tokenizer.json alone.
func openTokenizer(name string) (*tokenizer.Tokenizer, error) {
	if info, err := os.Stat(name); err == nil && (info.IsDir() || gguf.IsName(name)) {
		var folder fs.FS
		if info.IsDir() {
			folder, err = gguf.Open(os.DirFS(name))
		} else {
			folder, err = gguf.OpenModel(os.DirFS(filepath.Dir(name)), filepath.Base(name))
		}
		if err != nil {
			return nil, exit.Usagef("--model: %v", err)
		}
		t, err := tokenizer.Open(folder)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, exit.Usagef("--model: %s holds no tokenizer.json", name)
		}
		return t, err
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, exit.Usagef("--model: %v", err)
	}
	return tokenizer.Load(data, name)
}

// codec is the part of a tokenizer that tokenizeLines uses.
type codec interface {
	Encode(text string, special bool) ([]int, error)
	Decode(ids []int, skipSpecial bool) string
	Token(id int) (string, bool)
	VocabSize() int
}

// tokenizeLines converts each line of in to a line of out.
func tokenizeLines(t codec, in io.Reader, out io.Writer, jsonl, decode bool) error {
	r, w := bufio.NewReader(in), bufio.NewWriter(out)
	for number := 1; ; number++ {
		line, err := r.ReadString('\n')
		if errors.Is(err, io.EOF) && line == "" {
			return w.Flush()
		} else if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("tokenize: stdin: line %d: %w", number, err)
		}
		answer, err := tokenizeLine(t, strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"), jsonl, decode)
		if err != nil {
			return errors.Join(w.Flush(), fmt.Errorf("tokenize: stdin: line %d: %w", number, err))
		}
		fmt.Fprintln(w, answer) // Flush returns the first failure
	}
}

func tokenizeLine(t codec, line string, jsonl, decode bool) (string, error) {
	var value any
	if decode {
		var ids []int
		if err := json.Unmarshal([]byte(line), &ids); err != nil {
			return "", fmt.Errorf("not an array of ids: %w", err)
		}
		for i, id := range ids {
			if _, known := t.Token(id); !known {
				return "", fmt.Errorf("id %d at position %d is no token: the tokenizer has %d ids from 0", id, i+1, t.VocabSize())
			}
		}
		text := t.Decode(ids, false)
		if !jsonl {
			return text, nil
		}
		value = text
	} else {
		text := line
		if jsonl {
			if err := json.Unmarshal([]byte(line), &text); err != nil {
				return "", fmt.Errorf("not a JSON string: %w", err)
			}
			if escape := strictjson.LoneSurrogate([]byte(line)); escape != "" {
				return "", fmt.Errorf("%s is half of a character: its other half is missing (a lone surrogate)", escape)
			}
		}
		ids, err := t.Encode(text, false)
		if err != nil {
			return "", err
		}
		if ids == nil {
			ids = []int{}
		}
		value = ids
	}
	answer, err := marshal(value)
	return answer, err
}

// marshal is JSON on one line. It leaves <, > and & unescaped, which are frequent in special tokens.
func marshal(value any) (string, error) {
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return strings.TrimSuffix(text.String(), "\n"), err
}
