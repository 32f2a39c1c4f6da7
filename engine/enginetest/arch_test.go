//go:build !js

package enginetest_test

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// arrows says which packages of ours each package may import. A folder's name stands for everything below it, too.
var arrows = map[string][]string{
	"shaders":              {},
	"engine/tensor":        {},
	"engine/message":       {},
	"engine/testfiles":     {},
	"engine/config":        {"engine/message"},
	"engine/corpus":        {},
	"engine/recipe":        {"engine/config", "engine/message"},
	"engine/strictjson":    {},
	"engine/jinja/python":  {},
	"engine/jinja":         {"engine/jinja/python"},
	"engine/chat":          {"engine/jinja"},
	"engine/data/turns":    {"engine/chat", "engine/jinja", "engine/message"},
	"engine/data/gb18030":  {},
	"engine/data/sampling": {},
	"engine/data/textfile": {"engine/data/gb18030", "engine/message"},
	"engine/data":          {"engine/data/sampling", "engine/data/textfile", "engine/data/turns", "engine/chat", "engine/jinja", "engine/config", "engine/message", "engine/strictjson"},
	"engine/tokenizer":     {"engine/message", "engine/strictjson"},
	"engine/quant":         {"engine/tensor"},
	"engine/gguf":          {"engine/message", "engine/quant", "engine/tensor", "engine/tokenizer", "engine/weights"},
	"engine/gguf/gguftest": {"engine/gguf", "engine/quant", "engine/tensor", "engine/weights"},
	"engine/weights":       {"engine/message", "engine/quant", "engine/tensor"},
	"engine/adapterdir":    {"engine/message", "engine/weights", "engine/tensor"},
	"engine/device":        {"engine/tensor"},
	"engine/device/cpu":    {"engine/device", "engine/tensor"},
	"engine/device/webgpu": {"engine/device", "engine/tensor", "shaders"},
	"engine/graph":         {"engine/quant", "engine/device", "engine/tensor"},
	"engine/op":            {"engine/quant", "engine/graph", "engine/device", "engine/tensor"},
	"engine/optim":         {"engine/graph", "engine/device", "engine/tensor"},
	"engine/nn":            {"engine/quant", "engine/op", "engine/graph", "engine/tensor"},
	"engine/model":         {"engine/message", "engine/nn", "engine/strictjson", "engine/tensor"},
	"engine/model/llama":   {"engine/message", "engine/model", "engine/nn", "engine/tensor"},
	"engine/model/qwen2":   {"engine/message", "engine/model", "engine/model/llama", "engine/nn"},
	"engine/model/qwen3":   {"engine/message", "engine/model", "engine/model/llama", "engine/model/qwen2", "engine/nn"},
	"engine/model/mistral": {"engine/message", "engine/model", "engine/model/llama", "engine/nn"},
	"engine/model/smollm3": {"engine/message", "engine/model", "engine/model/llama", "engine/nn"},
	"engine/peft":          {"engine/config", "engine/message", "engine/nn", "engine/op", "engine/graph", "engine/tensor"},
	"engine/plan":          {"engine/quant", "engine/fsdp", "engine/message", "engine/nn", "engine/graph", "engine/device", "engine/tensor"},
	"engine/fsdp":          {"engine/message", "engine/tensor"},
	"engine/tune":          {"engine/device", "engine/device/cpu", "engine/tensor"}, // the reference judges variants
	"engine/report":        {"engine/config", "engine/data", "engine/device", "engine/message"},
	"engine/pretrained": {"engine/quant", "engine/gguf", "engine/chat", "engine/adapterdir", "engine/report", "engine/config", "engine/message", "engine/model", "engine/model/llama", "engine/model/qwen2", "engine/model/qwen3", "engine/model/mistral", "engine/model/smollm3", "engine/peft", "engine/tokenizer",
		"engine/weights", "engine/nn", "engine/op", "engine/graph", "engine/tensor"},
	"engine/export": {"engine/pretrained", "engine/gguf", "engine/quant", "engine/model/llama", "engine/peft", "engine/tokenizer", "engine/weights", "engine/nn", "engine/tensor"},
	"engine/memory": {"engine/quant", "engine/report", "engine/pretrained", "engine/peft", "engine/plan", "engine/tune", "engine/nn", "engine/op", "engine/graph", "engine/device", "engine/tensor",
		"engine/weights"},
	"engine/replay": {"engine/quant", "engine/data/sampling", "engine/chat", "engine/report", "engine/pretrained", "engine/memory", "engine/config", "engine/fsdp", "engine/message", "engine/peft", "engine/optim", "engine/data",
		"engine/plan", "engine/tune", "engine/nn", "engine/op", "engine/graph", "engine/device", "engine/tensor"},
	"engine/forecast": {"engine/data/sampling", "engine/report", "engine/replay", "engine/pretrained", "engine/config", "engine/fsdp", "engine/message", "engine/peft", "engine/data", "engine/model",
		"engine/plan", "engine/op", "engine/device", "engine/tensor", "engine/weights"},
	"engine/train": {"engine/data/sampling", "engine/chat", "engine/report", "engine/replay", "engine/pretrained", "engine/memory", "engine/config", "engine/message", "engine/optim", "engine/data", "engine/plan",
		"engine/nn", "engine/device", "engine/tensor", "engine/weights"},
	"engine/fsdp/rank": {"engine/data/sampling", "engine/report", "engine/train", "engine/replay", "engine/memory", "engine/fsdp", "engine/config", "engine/message", "engine/peft", "engine/optim",
		"engine/data", "engine/plan", "engine/nn", "engine/op", "engine/graph", "engine/device", "engine/tensor"},
	"engine/job": {"engine/export", "engine/chat", "engine/tokenizer", "engine/data/turns", "engine/jinja", "engine/report", "engine/forecast", "engine/train", "engine/fsdp/rank", "engine/replay", "engine/pretrained", "engine/memory", "engine/config", "engine/message",
		"engine/data", "engine/peft", "engine/plan", "engine/tune", "engine/nn", "engine/graph", "engine/device", "engine/tensor", "engine/weights"},
	"engine/bench": {"engine/report", "engine/job", "engine/train", "engine/replay", "engine/tune", "engine/config", "engine/message", "engine/optim", "engine/op", "engine/graph", "engine/device",
		"engine/device/webgpu", "engine/tensor"}, // stands beside wasm: it measures the device itself
	"engine/enginetest":  {"engine/quant", "engine/graph", "engine/device", "engine/device/cpu", "engine/device/webgpu", "engine/tensor"},
	"ui":                 {"engine/message"},
	"server/servertest":  {"engine/message", "engine/testfiles", "engine/weights"},
	"server/e2e":         {},
	"server/headless":    {"server/temporary"},
	"server/temporary":   {"server/filelock"},
	"server/lan":         {},
	"docs":               {},
	"server/web":         {},
	"server/filelock":    {},
	"server/hub":         {"server/filelock"},
	"server/hub/hubtest": {},
	"server/job":         {"engine/message", "server/filelock"},
	"server/room":        {"server/web", "engine/fsdp", "engine/message", "engine/tensor"},
	"server/library":     {"engine/gguf", "server/hub", "server/web", "server/job", "engine/recipe"},
	"server/classroom":   {"server/temporary", "server/library", "server/room", "server/job", "server/web", "engine/forecast", "engine/fsdp/rank", "engine/report", "engine/fsdp", "engine/config", "engine/message", "engine/device"},
	"server/metrics":     {"server/room", "server/web"},
	"server/exit":        {"server/headless", "engine/report", "engine/config", "engine/message"},
	"server/importer":    {"engine/config", "engine/data", "engine/peft", "engine/strictjson"},
	"server/datafile":    {"server/temporary"},
	"server/inputs":      {"engine/gguf", "server/datafile", "server/hub", "server/library", "server/job", "server/exit", "engine/report", "engine/recipe", "engine/config", "engine/message"},
	"server/check":       {"server/exit", "engine/job", "engine/report", "engine/device", "engine/message"},
	"server/openai":      {"server/exit", "engine/message"},
	"server/runner":      {"server/headless", "server/job", "server/web", "server/exit", "engine/message"},
	"server/tabs": {"server/runner", "server/inputs", "server/room", "server/headless", "server/job", "server/web", "server/exit", "engine/forecast", "engine/fsdp/rank", "engine/report", "engine/fsdp", "engine/config",
		"engine/device", "engine/message"},
	"wasm/page":   {"ui"},
	"wasm/engine": {"engine/report", "engine/job", "engine/fsdp/rank", "engine/fsdp", "engine/bench", "engine/message", "engine/device", "engine/device/webgpu"},
}

// stops says where a foreign interface stops.
var stops = map[string][]string{
	"github.com/cogentcore/webgpu":  {"engine/device/webgpu"},
	"github.com/hack-pad/safejs":    {"engine/device/webgpu"},
	"go.yaml.in/yaml":               {"server/importer"},
	"github.com/vugu/vugu":          {"ui"},
	"github.com/chromedp":           {"server/headless"},
	"github.com/coder/websocket":    {"server/room"},
	"github.com/klauspost/compress": {"tools/pack", "server/datafile"},
	"github.com/parquet-go":         {"server/datafile"},
	"github.com/prometheus":         {"server/metrics"},
	"github.com/yuin/goldmark":      {"docs"},
	"golang.org/x/text":             {"engine/data/gb18030"}, // natively: the browser decodes by itself
}

// imports lists packages with what they import, for the given platform.
func imports(t *testing.T, env ...string) map[string][]string {
	t.Helper()
	cmd := exec.Command("go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, "./...")
	cmd.Dir, cmd.Env, cmd.Stderr = root, append(os.Environ(), env...), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		all[strings.TrimPrefix(f[0], "llamatab/")] = f[1:]
	}
	return all
}

func TestArrows(t *testing.T) {
	for _, env := range [][]string{nil, {"GOOS=js", "GOARCH=wasm"}} {
		for pkg, list := range imports(t, env...) {
			allowed, known := arrows[pkg]
			if (strings.HasPrefix(pkg, "engine/") || strings.HasPrefix(pkg, "server/")) && !known {
				t.Errorf("%s: say in the table what it may import", pkg)
			}
			for _, imp := range list {
				ours, internal := strings.CutPrefix(imp, "llamatab/")
				switch {
				case internal && known && !slices.Contains(allowed, ours):
					t.Errorf("%s imports %s, may import %v", pkg, ours, allowed)
				case internal && strings.HasPrefix(pkg, "server"):
					if ours == "engine/device/webgpu" || ours == "ui" || strings.HasPrefix(ours, "wasm/") {
						t.Errorf("%s imports %s: the server never touches a GPU or a page", pkg, ours)
					}
				case strings.HasPrefix(pkg, "engine/") && (imp == "os/exec" || strings.HasPrefix(imp, "net")):
					t.Errorf("%s imports %s: the engine knows nothing of processes or networks", pkg, imp)
				}
				for prefix, where := range stops {
					if strings.HasPrefix(imp, prefix) && !slices.Contains(where, pkg) {
						t.Errorf("%s imports %s, which stops at %v", pkg, imp, where)
					}
				}
			}
		}
	}
}
