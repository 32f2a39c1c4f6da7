package ui

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"llamatab/engine/config"
	"llamatab/engine/data"
	"llamatab/engine/device"
	planning "llamatab/engine/forecast"
	"llamatab/engine/message"
	"llamatab/engine/plan"
	"llamatab/engine/pretrained"
	"llamatab/engine/report"
)

// Every text exists in both languages, with the same {names}.
func TestCatalogue(t *testing.T) {
	for key, entry := range catalogue {
		if strings.TrimSpace(entry.en) == "" || strings.TrimSpace(entry.zh) == "" {
			t.Errorf("%s: a language is missing", key)
		}
		en, zh := namesIn(entry.en), namesIn(entry.zh)
		slices.Sort(en)
		slices.Sort(zh)
		if !slices.Equal(en, zh) {
			t.Errorf("%s: %v in English, %v in Chinese", key, en, zh)
		}
	}
}

// The catalogue has every text that the page uses by name, and the page uses every text of the catalogue: by its name, or by
// the prefix of its kind, such as "phase.".
func TestKeys(t *testing.T) {
	asked := map[string]bool{}
	use := regexp.MustCompile(`(?:\bT|\bsay)\("([^"]+)"`)
	quoted := regexp.MustCompile(`"([a-z][\w.-]*)"`)
	for _, pattern := range []string{"*.vugu", "*.go"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(file, "_test.go") || strings.HasSuffix(file, "_gen.go") || strings.HasPrefix(file, "texts_") {
				continue
			}
			for _, m := range use.FindAllSubmatch(source, -1) {
				key := string(m[1])
				if _, ok := catalogue[key]; !ok && !strings.HasSuffix(key, ".") {
					t.Errorf("%s asks for %q, which is not in the catalogue", file, key)
				}
			}
			for _, m := range quoted.FindAllSubmatch(source, -1) {
				asked[string(m[1])] = true
			}
		}
	}
	for key := range catalogue {
		kind, _, _ := strings.Cut(key, ".")
		if !asked[key] && !asked[kind+"."] {
			t.Errorf("nothing asks for %q", key)
		}
	}
}

// describe is the description of the settings as the page gets it.
func describe(t *testing.T) (text json.RawMessage, d description) {
	t.Helper()
	text, err := json.Marshal(pretrained.Describe())
	if err == nil {
		err = json.Unmarshal(text, &d)
	}
	if err != nil {
		t.Fatal(err)
	}
	return text, d
}

// Every setting of the engine has a name and a help text in both languages.
func TestSettings(t *testing.T) {
	_, about := describe(t)
	for _, path := range about.Defaults.topped() {
		if _, ok := settingWords[path]; !ok && path != "model" && path != "peft" && path != "dataset.path" && path != "training.resume_from_checkpoint" {
			t.Errorf("%s has no words", path)
		}
	}
	for path, k := range settingWords {
		for _, text := range []string{k.en, k.zh, k.helpEN, k.helpZH} {
			if strings.TrimSpace(text) == "" {
				t.Errorf("%s: a language is missing", path)
			}
		}
	}
}

// Whatever is registered with the engine, be it a method, a format, a part that trains or an example, has words in both
// languages, and so has every setting of a method that the page shows.
func TestDescribed(t *testing.T) {
	_, about := describe(t)
	missing := untold(&about)
	if len(missing) > 0 {
		t.Errorf("without words in a language: %v", missing)
	}
	// The check finds what it is there for.
	about.Methods[0].About.Zh = ""
	about.Methods[1].Settings[0].Help.En = ""
	about.Choices["dataset.format"][0].Title.Zh = ""
	about.Parts[0].Title = nil
	if missing := untold(&about); len(missing) != 4 {
		t.Errorf("4 texts were taken away, %v are missed", missing)
	}
}

// untold lists what of a description has no words in one of the languages.
func untold(d *description) (missing []string) {
	check := func(what string, texts ...message.Text) {
		for _, text := range texts {
			if strings.TrimSpace(text.En) == "" || strings.TrimSpace(text.Zh) == "" {
				missing = append(missing, what)
			}
		}
	}
	option := func(what string, o message.Option) {
		if o.Title == nil {
			o.Title = new(message.Text)
		}
		check(what+" "+o.Value, *o.Title)
	}
	for _, m := range d.Methods {
		check("method "+m.Value, m.Title, m.About)
		for _, s := range m.Settings {
			check("setting "+m.Value+"."+s.Key, s.Name, s.Help)
		}
	}
	for _, o := range d.Choices["dataset.format"] {
		option("format", o)
	}
	for _, o := range d.Parts {
		if !strings.HasPrefix(o.Value, "regex:") { // written by hand in the setting, not ticked
			option("part", o)
		}
	}
	for _, o := range d.Examples {
		option("example", o)
	}
	return missing
}

// The catalogue of errors has every code with which the engine fails, with a cause and an action in both languages.
func TestTroubles(t *testing.T) {
	fails := regexp.MustCompile(`\breport\.Fail\("(\w+)"|(?:Failed|Error)\{Code: +"(\w+)"`)
	known := map[string]bool{}
	for _, pattern := range []string{"../engine/*/*.go", "../engine/*/*/*.go", "js/*.js", "../wasm/*/*.go", "../wasm/*/*.js"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range fails.FindAllSubmatch(source, -1) {
				known[string(m[1])+string(m[2])] = true
			}
		}
	}
	w := NewWords("en")
	for code := range known {
		if code == "" || w.Has("event."+code) {
			continue
		}
		if _, ok := errorEntries[code]; !ok {
			t.Errorf("the engine fails with %q, of which the catalogue has nothing", code)
		}
	}
	for code, trouble := range errorEntries {
		if !w.Has("failed."+code) || !w.Has("do."+trouble.Do) || !w.Has("advice."+trouble.Do) || !strings.HasPrefix(trouble.Code, "E-") {
			t.Errorf("%s: %+v lacks a text", code, trouble)
		}
	}
	for key := range catalogue {
		if code, ok := strings.CutPrefix(key, "mend."); ok && errorEntries[code].Code == "" {
			t.Errorf("%s: no trouble has this code", key)
		}
	}
}

// Every event and every remark of the engine has a text in both languages. Its {names} are among the names of the engine's data.
func TestEvents(t *testing.T) {
	made, names := 0, map[string]map[string]bool{} // what each code is told to be about, whoever tells it
	tell := func(where token.Position, code string, about []string) {
		if _, ok := catalogue["event."+code]; !ok {
			t.Errorf("%s: the page has no words for %q", where, code)
		}
		if names[code] == nil {
			names[code] = map[string]bool{}
			for _, name := range about {
				names[code][name] = true
			}
		}
		for name := range names[code] {
			if !slices.Contains(about, name) {
				delete(names[code], name)
			}
		}
	}
	files, set := sources(t, "../engine/*/*.go", "../engine/*/*/*.go", "../wasm/*/*.go")
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if code, about, ok := told(t, set, n); ok {
					made++
					tell(set.Position(n.Pos()), code, about)
				}
			case *ast.CompositeLit:
				checkRemarkLiteral(t, set, n)
			}
			return true
		})
	}
	for code, about := range names {
		for _, name := range namesIn(catalogue["event."+code].en) {
			if !about[name] {
				t.Errorf("the words for %q want {%s}, the engine tells %v", code, name, slices.Sorted(maps.Keys(about)))
			}
		}
	}
	if made < 35 {
		t.Errorf("found %d events and remarks: the engine tells them in another way now", made)
	}
}

// told is the code of an event or a remark that a call makes, with the names of its data.
func told(t *testing.T, set *token.FileSet, call *ast.CallExpr) (code string, about []string, ok bool) {
	switch name := expression(set, call.Fun); {
	case name == "report.Event":
		if _, passed := call.Args[2].(*ast.SelectorExpr); passed {
			return "", nil, false // a remark's
		}
		if data, ok := call.Args[4].(*ast.CompositeLit); ok {
			for _, e := range data.Elts {
				about = append(about, text(e.(*ast.KeyValueExpr).Key))
			}
		}
		return text(call.Args[2]), about, true
	case strings.HasSuffix(name, ".remarkTensors"): // of a checkpoint: it adds the index and the tensors
		return text(call.Args[0]), []string{"index", "tensors"}, true
	case strings.HasSuffix(name, "NewRemark") || name == "remark" || name == "fault" || strings.HasSuffix(name, ".remark"):
		where := set.Position(call.Pos())
		if call.Ellipsis.IsValid() {
			return "", nil, false // its arguments are another call's
		}
		if _, passed := call.Args[0].(*ast.Ident); passed && strings.HasSuffix(where.Filename, "weights/checkpoint.go") {
			return "", nil, false // remarkTensors passes its code on
		}
		for i := 2; i < len(call.Args); i += 2 {
			about = append(about, text(call.Args[i]))
		}
		for _, name := range namesIn(text(call.Args[1])) {
			if !slices.Contains(about, name) {
				t.Errorf("%s: {%s} is not filled in", where, name)
			}
		}
		return text(call.Args[0]), about, true
	}
	return "", nil, false
}

// checkRemarkLiteral reports a remark that is not made by NewRemark.
func checkRemarkLiteral(t *testing.T, set *token.FileSet, made *ast.CompositeLit) {
	if !strings.HasSuffix(expression(set, made.Type), "message.Remark") {
		return
	}
	_, list := made.Type.(*ast.ArrayType)
	for _, e := range made.Elts {
		if _, call := e.(*ast.CallExpr); !list || !call {
			t.Errorf("%s: a remark that is not made by NewRemark", set.Position(e.Pos()))
		}
	}
}

// Every kind of fault of a setting has a text in both languages. Its {names} are among the names of the engine's data.
func TestWrongSettings(t *testing.T) {
	files, set := sources(t, "../engine/config/*.go", "../engine/peft/*.go")
	told := map[string]bool{"row": true, "fault": true} // which are no settings, and have tests of their own
	tell := func(where token.Pos, kind string, about ...string) {
		told[kind] = true
		entry, ok := catalogue["wrong."+kind]
		if !ok {
			t.Errorf("%s: the page has no words for %q", set.Position(where), kind)
		}
		for _, name := range namesIn(entry.en) {
			if name != "name" && !slices.Contains(about, name) {
				t.Errorf("%s: the words for %q want {%s}", set.Position(where), kind, name)
			}
		}
	}
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if of, ok := n.Fun.(*ast.SelectorExpr); ok && of.Sel.Name == "As" {
					var about []string
					for i := 1; i < len(n.Args); i += 2 {
						about = append(about, text(n.Args[i]))
					}
					tell(n.Pos(), text(n.Args[0]), about...)
				}
			case *ast.ValueSpec:
				if n.Names[0].Name == "wanted" {
					for _, e := range n.Values[0].(*ast.CompositeLit).Elts {
						tell(e.Pos(), text(e.(*ast.KeyValueExpr).Value))
					}
				}
			}
			return true
		})
	}
	for key := range catalogue {
		if kind, ok := strings.CutPrefix(key, "wrong."); ok && !told[kind] {
			t.Errorf("the engine never says that a setting is wrong in the way %q", kind)
		}
	}

	for settings, want := range map[string]string{
		`"training": {"per_device_train_batch_size": 0}`:              "批大小：0 不可用，应为 1 到 65536。",
		`"training": {"max_steps": "many"}`:                           "步数应为整数。",
		`"training": {"eval_steps": 5}`:                               "评估间隔：没有可供评估的数据。请将留出比例设为大于 0。",
		`"training": {"lr_scheduler_type": "up"}`:                     "学习率曲线：up 不在 constant、constant_with_warmup、linear、cosine、cosine_with_restarts、polynomial、inverse_sqrt、cosine_with_min_lr、cosine_warmup_with_min_lr、warmup_stable_decay 之中。",
		`"training": {"lr_scheduler_kwargs": {"power": 2}}`:           "power：曲线 linear 没有这个参数。",
		`"training": {"lr_scheduler_type": "cosine_with_min_lr"}`:     "曲线参数：此曲线需要 min_lr 与 min_lr_rate 之一，例如把 min_lr_rate 设为 0.1。",
		`"fsdp": {"world_size": 2}, "training": {"on_spike": "stop"}`: "损失突跳时：多标签页训练不支持此设置。请改回默认值，或只在此标签页训练。",
	} {
		_, err := config.Parse([]byte(`{"model": "m", "trainable": ["all"], "dataset": {"path": "d"}, `+settings+`}`), "run.json")
		says(t, &report.Error{Code: "config", Err: err}, want)
	}
}

// says checks the Chinese text of a failure, and that no English message of the engine is shown beside it.
func says(t *testing.T, err error, want string) {
	t.Helper()
	sent, _ := json.Marshal(report.Failure(err))
	failed := new(message.Failed)
	if err := json.Unmarshal(sent, failed); err != nil {
		t.Fatal(err)
	}
	w := NewWords("zh")
	if got := string(w.cause(failed)); got != want || w.detail(failed) != "" {
		t.Errorf("says %q, %q; want %q", got, w.detail(failed), want)
	}
}

// A fault in a row of the data is described in both languages.
func TestRows(t *testing.T) {
	for row, want := range map[string]string{
		`{"input_ids": [1, 2], "labels": [1]}`: "数据第 2 行：2 个 input_ids 却有 1 个 labels。",
		`{"labels": [1]}`:                      `数据第 2 行：缺少 "input_ids"。`,
		`{"input_ids": "1 2"}`:                 `数据第 2 行："input_ids" 应为整数列表，得到的是字符串。`,
		`{"input_ids": [1, 99]}`:               "数据第 2 行：id 99 超出大小为 50 的词表。",
		`[1, 2]`:                               "数据第 2 行：每行应为 JSON 对象，得到的是列表。",
		"{\"input_ids\": \"\xff\"}":            "数据第 2 行：不是有效的 UTF-8；请以 UTF-8 保存文件。",
		`{"input_ids": [1], "input_ids": [2]}`: "数据第 2 行：键 input_ids 出现了两次。",
		`{"input_ids": [1], "x": "\ud83d"}`:    `数据第 2 行：\ud83d 只是半个字符：缺少另一半（孤立的代理项）。`,
		`{"input_ids": [1`:                     "数据第 2 行：第 16 列：不是 JSON（unexpected end of JSON input）。",
	} {
		_, err := data.Load(strings.NewReader(`{"input_ids": [1, 2]}`+"\n"+row), "d.jsonl", data.Options{Vocab: 50})
		says(t, &report.Error{Code: "data", Err: err}, want)
	}
}

// A failure that is of no row and no setting is described in both languages.
func TestFaults(t *testing.T) {
	_, err := data.Load(strings.NewReader(`{"input_ids": [1, 2], "labels": [-100, -100]}`), "d.jsonl", data.Options{})
	says(t, &report.Error{Code: "data", Err: err}, "无法进行：数据的 1 行中没有可学的词元（0 行为空，1 行没有参与训练的词元，0 行的训练词元全被截断）。")
}

// sources parses the matching Go files that are not tests.
func sources(t *testing.T, patterns ...string) (files []*ast.File, set *token.FileSet) {
	t.Helper()
	set = token.NewFileSet()
	for _, pattern := range patterns {
		paths, _ := filepath.Glob(pattern)
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(set, path, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, file)
		}
	}
	return files, set
}

// text is the value of a string literal, "" for other expressions.
func text(e ast.Expr) string {
	literal, _ := e.(*ast.BasicLit)
	if literal == nil {
		return ""
	}
	s, _ := strconv.Unquote(literal.Value)
	return s
}

func expression(set *token.FileSet, e ast.Expr) string {
	var b strings.Builder
	printer.Fprint(&b, set, e)
	return b.String()
}

// Every unit of a plan has a name in words.
func TestUnits(t *testing.T) {
	model, ok := plan.FindModel(plan.ModelNames()[0])
	if !ok {
		t.Fatal("no model is known")
	}
	limits := device.DefaultLimits
	limits.MaxBuffer, limits.MaxBinding = 1<<40, 1<<40
	for _, settings := range []string{
		`"trainable": ["all"]`, `"trainable": [{"add": "fc", "at": "between", "sizes": [8]}]`, `"peft": {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 4}`,
	} {
		cfg, err := config.Parse([]byte(`{"model": "m", "dataset": {"path": "d", "max_length": 8}, `+settings+`}`), "run.json")
		if err != nil {
			t.Fatal(err)
		}
		files, err := planning.Imagine(model, cfg)
		if err != nil {
			t.Fatal(err)
		}
		f, err := planning.Plan(cfg, files, planning.Conditions{Limits: limits})
		if err != nil {
			t.Fatal(err)
		}
		w := NewWords("zh")
		for _, u := range f.Units {
			if w.UnitText(u.Name) == Text(u.Name) {
				t.Errorf("%s: the unit %q has no words", settings, u.Name)
			}
		}
	}
}

// Remarks are translated, and their sizes and numbers are written as elsewhere on the page.
func TestRemarks(t *testing.T) {
	en, zh := NewWords("en"), NewWords("zh")
	var cut, large message.Remark
	for text, into := range map[string]*message.Remark{
		`{"code": "rows_cut", "message": "own", "data": {"file": "a.txt", "n": 2, "rows": 1000000, "length": 256, "lost": 31, "share": 4.8}}`:                   &cut,
		`{"code": "buffer_misfit", "message": "own", "data": {"buffer": "logits", "need_bytes": 134217728, "limit_bytes": 64000000, "excess_bytes": 70217728}}`: &large,
	} {
		if err := json.Unmarshal([]byte(text), into); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range [][2]string{
		{string(en.RemarkText(cut)), "a.txt: 2 of 1000000 rows are cut to 256 tokens: 31 tokens are lost, 4.8 %."},
		{string(zh.RemarkText(cut)), "a.txt：1000000 行中有 2 行截断为 256 个词元：丢失 31 个词元，占 4.8 %。"},
		{string(zh.RemarkText(large)), "单个缓冲区（logits）需要 134 MB，GPU 最多允许 64 MB。"},
		{zh.eventText("rows_cut", "own", map[string]any{"file": "a.txt"}), "own"},
		{zh.eventText("from the future", "own", cut.Data), "own"},
		{zh.eventText("step_without_tokens", "own", map[string]any{"rows": []any{1.0, 2.0}}), "有一步没有可训练的内容（行 1、2）。"},
	} {
		if c[0] != c[1] {
			t.Errorf("got %q, want %q", c[0], c[1])
		}
	}
}

func TestSpelling(t *testing.T) {
	en, zh := NewWords("en-GB"), NewWords("zh-CN")
	for _, c := range [][2]string{
		{Bytes(0), "0 B"}, {Bytes(999), "999 B"}, {Bytes(1000), "1 kB"}, {Bytes(999_600), "1.00 MB"}, {Bytes(41_300_000), "41.3 MB"},
		{Bytes(5_200_000_000), "5.20 GB"}, {Bytes(1 << 60), "1152921505 GB"},
		{en.Duration(0), "0 s"}, {en.Duration(59.2), "1 min 0 s"}, {en.Duration(3725), "1 h 2 min"}, {zh.Duration(61), "1 分 1 秒"},
		{en.Duration(-1), "–"}, {en.Duration(1e9), "–"},
		{string(en.T("no such key")), "no such key"}, {string(zh.T("status.stopped", "step", 7)), "已在第 7 步后停止。可以下载训练所得。"},
		{Text(`<a> & "损失"`).HTML(), "&#60;a&#62; &#38; &#34;&#25439;&#22833;&#34;"},
		{NewWords("zh").Lang(), "zh"}, {NewWords("ZH-tw").Lang(), "zh"}, {NewWords("").Lang(), "en"}, {NewWords("zhuang").Lang(), "en"},
	} {
		if c[0] != c[1] {
			t.Errorf("got %q, want %q", c[0], c[1])
		}
	}
}

// The table of a room's memory has the kinds that the engine counts, and the page has a name for each.
func TestMemoryKinds(t *testing.T) {
	var kinds []string
	for k := range device.MemoryKind(device.NumMemoryKinds) {
		kinds = append(kinds, k.String())
		if _, ok := catalogue["memory."+k.String()]; !ok {
			t.Errorf("%s has no name", k)
		}
	}
	if kinds = append(kinds, totalKey); !slices.Equal(kinds, memoryKinds) {
		t.Errorf("the page has %v, the engine counts %v", memoryKinds, kinds)
	}
}
