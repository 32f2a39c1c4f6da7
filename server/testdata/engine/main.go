//go:build js

// Command engine stands in for the real engine in the server's tests: it speaks the job protocol and trains nothing.
// The prompt of a generate job says how it shall behave; a train job takes its steps until it is stopped. With the seed 7 it
// waits for the stop before its first step.
package main

import (
	"encoding/json"
	"fmt"
	"syscall/js"
	"time"

	"llamatab/engine/message"
)

var base = js.Global().Get("llamatab").Get("job").String()

// await blocks until the promise is settled.
func await(promise js.Value) js.Value {
	settled := make(chan js.Value, 1)
	f := js.FuncOf(func(_ js.Value, args []js.Value) any { settled <- args[0]; return nil })
	promise.Call("then", f, f)
	return <-settled
}

func fetch(method, path string, body any) string {
	options := map[string]any{"method": method}
	if body != nil {
		options["body"] = body
	}
	response := await(js.Global().Call("fetch", base+path, options))
	text := await(response.Call("text")).String()
	if !response.Get("ok").Bool() {
		panic(fmt.Sprintf("%s %s: %s: %s", method, path, response.Get("status"), text))
	}
	return text
}

var stop bool // the host has asked for it: each control comes once, with the answer to whatever was said last

// say posts messages and reports whether the host has asked for a stop.
func say(envelopes ...message.Envelope) bool {
	body, err := json.Marshal(envelopes)
	if err != nil {
		panic(err)
	}
	var answer struct{ Control []message.Control }
	if err := json.Unmarshal([]byte(fetch("POST", "messages", string(body))), &answer); err != nil {
		panic(err)
	}
	for _, c := range answer.Control {
		stop = stop || c == message.Stop
	}
	return stop
}

func main() {
	var job message.Job
	if err := json.Unmarshal([]byte(fetch("GET", "job.json", nil)), &job); err != nil {
		panic(err)
	}
	say(message.Envelope{Type: "progress", Progress: &message.Progress{Phase: "open"}})
	switch job.Command {
	case message.Train:
		train(job)
	case message.Generate:
		generate(job)
	}
}

func train(job message.Job) {
	say(message.Envelope{Type: "config", Config: job.Config})
	var files []struct {
		Name string
		Size int64
	}
	if err := json.Unmarshal([]byte(fetch("GET", "files/dataset/?list", nil)), &files); err != nil || len(files) != 1 {
		panic(fmt.Sprint("dataset: ", err, files))
	}
	data := fetch("GET", "files/dataset/"+files[0].Name, nil)
	var config struct {
		Training struct{ Seed int }
	}
	if err := json.Unmarshal(job.Config, &config); err != nil {
		panic(err)
	}
	for ; config.Training.Seed == 7; time.Sleep(20 * time.Millisecond) {
		if say(message.Envelope{Type: "progress", Progress: &message.Progress{Phase: "compile"}}) {
			say(message.Envelope{Type: "done", Done: &message.Done{Stopped: true}})
			return
		}
	}
	stopped := false
	for step := 1; step <= 1000 && !stopped; step++ {
		time.Sleep(20 * time.Millisecond)
		stopped = say(message.Envelope{Type: "step", Step: &message.Step{Step: step, Loss: 1 / message.Float(step), Tokens: len(data)}})
	}
	fetch("POST", "out/adapter/adapter_config.json?offset=0", "{")
	fetch("POST", "out/adapter/adapter_config.json?offset=1", "}")
	fetch("POST", "commit/adapter", nil)
	say(message.Envelope{Type: "summary", Summary: json.RawMessage(`{"backend":"` + job.AdapterBackend + `"}`)},
		message.Envelope{Type: "done", Done: &message.Done{Stopped: stopped, Files: []string{"adapter"}}})
}

func generate(job message.Job) {
	switch job.Generate.Prompt {
	case "panic":
		var none map[string]int
		none["what the panic says"] = 1
	case "throw": // out of a callback, where no Go code could catch it
		js.Global().Call("setTimeout", js.Global().Get("Symbol").Get("prototype").Get("toString"))
		select {}
	case "exit":
		return
	case "spin":
		for {
		}
	case "fail":
		say(message.Envelope{Type: "failed", Failed: &message.Failed{Code: "does_not_fit", Message: "too big", Next: "use less", Exit: 1}})
		return
	}
	gpu := js.Global().Get("navigator").Get("gpu").Truthy()
	result, err := json.Marshal(map[string]any{"text": "heard " + job.Generate.Prompt, "gpu": gpu, "backend": job.AdapterBackend})
	if err != nil {
		panic(err)
	}
	say(message.Envelope{Type: "token", Token: &message.Token{ID: 1, Text: "heard "}},
		message.Envelope{Type: "token", Token: &message.Token{ID: 2, Text: job.Generate.Prompt}},
		message.Envelope{Type: "result", Result: result}, message.Envelope{Type: "done", Done: &message.Done{}})
}
