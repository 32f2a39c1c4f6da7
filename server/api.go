package main

import (
	"cmp"
	"context"
	"net/http"

	"llamatab/engine/config"
	"llamatab/engine/message"
	"llamatab/server/exit"
	"llamatab/server/inputs"
	"llamatab/server/openai"
	"llamatab/server/runner"
	"llamatab/server/web"
)

// apiOptions are the options of serve for /v1/chat/completions.
type apiOptions struct {
	on, remote     bool
	model, adapter string
	chat           message.ChatJob
	browser        *runner.Browser
}

func (o *apiOptions) add(f *flagSet) {
	f.BoolVar(&o.on, "api", false, "answer /v1/chat/completions as OpenAI's API does, with --model in a headless browser; only this machine may ask")
	f.BoolVar(&o.remote, "api-remote", false, "with --api: let other machines ask, too; anybody who reaches the server may")
	f.StringVar(&o.model, "model", "", "with --api: model `DIR`, a GGUF file, or its name on a hub")
	f.StringVar(&o.adapter, "adapter", "", "with --api: PEFT adapter `DIR`, or its name on a hub")
	f.StringVar(&o.chat.Template, "template", "", "with --api: `NAME` of a built-in chat template in place of the model's own")
	f.IntVar(&o.chat.Context, "context", defaultContext, "with --api: `number` of tokens of a conversation at most")
	o.browser = f.browser()
}

func (o *apiOptions) check() error {
	switch {
	case o.on && o.model == "":
		return exit.Usagef("serve: --api wants --model")
	case !o.on && (o.model != "" || o.adapter != "" || o.remote || o.chat != message.ChatJob{Context: defaultContext}):
		return exit.Usagef("serve: --model, --adapter, --template, --context and --api-remote go with --api")
	case o.chat.Context < 2:
		return exit.Usagef("serve: --context wants 2 or more")
	}
	return nil
}

// serve loads the model and answers /v1/ on mux until end is called. A model that ends before tells it to failed.
func (o *apiOptions) serve(ctx context.Context, hubs *hubOptions, mux *http.ServeMux, sameOrigin func(*http.Request) bool, failed chan<- error) (end func() error, err error) {
	model, err := o.start(ctx, hubs)
	if err != nil {
		return nil, err
	}
	go func() {
		if <-model.ended; ctx.Err() == nil {
			failed <- model.ending()
		}
	}()
	mux.Handle("/v1/", o.handler(model, sameOrigin))
	return model.close, nil
}

// start loads the model in a headless browser.
func (o *apiOptions) start(ctx context.Context, hubs *hubOptions) (*talker, error) {
	m := inputs.New("", hubs.finder(ctx))
	if err := m.Model("--model", &o.model); err != nil {
		return nil, err
	}
	if o.adapter != "" {
		if err := m.Adapter("--adapter", &o.adapter); err != nil {
			return nil, err
		}
	}
	return startTalk(ctx, m, o.chat, *o.browser)
}

// handler serves /v1/ to whom the options let ask. A page of another site may not: any page that the person opens could use the
// model.
func (o *apiOptions) handler(model *talker, sameOrigin func(*http.Request) bool) http.Handler {
	name := config.Model{Path: cmp.Or(o.adapter, o.model)}.Name()
	v1 := openai.New(name, model).Handler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !o.remote && !web.FromHere(r):
			openai.Forbid(w, "only this machine may ask: llamatab serve --api-remote lets others")
		case !sameOrigin(r):
			openai.Forbid(w, "pages of other sites may not ask")
		default:
			v1.ServeHTTP(w, r)
		}
	})
}
