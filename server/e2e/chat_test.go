package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"llamatab/server/servertest"
)

// said is what the program prints of an answer, and what the API answers.
type said struct {
	Role, Content, Finish string
	PromptTokens          int `json:"prompt_tokens"`
	Tokens                int
}

// The command chat and the API give one answer to one conversation. A conversation that the model cannot be asked is refused,
// and the next one is answered.
func TestChat(t *testing.T) {
	t.Parallel()
	model := []string{"--model", "builtin:tales", "--adapter-backend", "swiftshader"}
	out := servertest.Run(t, "Once upon a time,\\\nthere was a\n/new\nOnce upon a time,\\\nthere was a\nAnd then?\n",
		append([]string{"chat", "--json", "--temperature", "0", "--max-new-tokens", "6"}, model...)...)
	var turns []said
	for decoder := json.NewDecoder(strings.NewReader(out)); decoder.More(); {
		var s said
		if err := decoder.Decode(&s); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		turns = append(turns, s)
	}
	if len(turns) != 3 || turns[0] != turns[1] || turns[0].Role != "assistant" || turns[0].Content == "" || turns[2].PromptTokens <= turns[0].PromptTokens+turns[0].Tokens {
		t.Fatalf("answers %s", out)
	}

	address := serving(t, append([]string{"--api"}, model...)...)
	post := func(body, origin string) (int, string) {
		request, err := http.NewRequest("POST", address+"/v1/chat/completions", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Origin", origin)
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, string(text)
	}
	const ask = `{"messages": [{"role": "user", "content": "Once upon a time,\nthere was a"}], "temperature": 0, "max_tokens": 6`
	for i, c := range []struct {
		body, origin string
		status       int
		want         string
	}{
		{ask + `}`, address, 200, mustJSON(t, turns[0].Content)},
		{ask + `}`, "https://elsewhere.example", 403, "other sites"},
		{`{"messages": [{"role": "user", "content": null}]}`, address, 400, "null"},
		{ask + `, "stream": true}`, address, 200, "[DONE]"},
	} {
		if status, body := post(c.body, c.origin); status != c.status || !strings.Contains(body, c.want) {
			t.Errorf("request %d: status %d, %s; want %d, %s", i, status, body, c.status, c.want)
		}
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
