package config

import (
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"slices"

	"llamatab/engine/message"
)

// words are the values that keys take, by their paths. A test holds them against what Parse says of other words.
var words = map[string][]string{
	"dataset.on_bad_row":              {"stop", "skip"},
	"dataset.template":                Templates,
	"training.lr_scheduler_type":      Schedulers,
	"training.on_nonfinite":           {"skip", "stop", "rollback"},
	"training.on_spike":               {"warn", "stop", "rollback"},
	"training.gradient_checkpointing": {"false", "true", "auto"},
	"precision.param_dtype":           {"float32", "bfloat16", "float16"},
	"precision.reduce_dtype":          {"float32", "bfloat16"},
	"precision.buffer_dtype":          {"float32", "bfloat16", "float16"},
	"quantization":                    {"null", "int8", "nf4", "q4_0", "q8_0"},
	"fsdp.sharding_strategy":          {"NO_SHARD", "SHARD_GRAD_OP", "FULL_SHARD", "HYBRID_SHARD"},
}

// Describe says what run.json may hold. Whether this version takes a value is found by asking Parse, so a description
// never says what Parse does not.
func Describe() *message.Description {
	d := &message.Description{Choices: map[string][]message.Option{}, Activations: Activations}
	d.Defaults, _ = json.Marshal(withAbsent(Default()))
	d.Methods = describeMethods()
	for path, values := range words {
		for _, v := range values {
			_, refused := try(path + "=" + v)
			o := message.Option{Value: v, Refused: refused}
			if kwargs := neededKwargs[v]; refused != "" && kwargs != "" {
				_, still := try(path+"="+v, kwargsPath+"="+kwargs)
				o.Incomplete = still == ""
			}
			d.Choices[path] = append(d.Choices[path], o)
		}
	}
	d.Choices["dataset.format"] = describeFormats()
	for _, p := range partWords {
		if p.example == "" {
			continue
		}
		quoted, _ := json.Marshal([]string{p.example})
		_, refused := try("trainable=" + string(quoted))
		d.Parts = append(d.Parts, message.Option{Value: p.example, Refused: refused, Title: p.title})
	}
	for _, e := range Examples() {
		d.Examples = append(d.Examples, message.Option{Value: e.Name, Title: &e.Title})
	}
	return d
}

// withAbsent is c as JSON objects, with the keys of training, too, that are left out of a written run.json where they say
// nothing.
func withAbsent(c *Config) map[string]any {
	tree := map[string]any{}
	text, _ := json.Marshal(c)
	_ = json.Unmarshal(text, &tree)
	training, _ := tree["training"].(map[string]any)
	fields := reflect.ValueOf(c.Training)
	for _, f := range settings(fields.Type()) {
		if key := jsonName(f); training[key] == nil {
			training[key] = fields.FieldByIndex(f.Index).Interface()
		}
	}
	return tree
}

// try parses a small run.json with settings; refused is what Parse has against them.
func try(sets ...string) (c *Config, refused string) {
	c, err := ParseWithSets([]byte(`{"model": "m", "dataset": {"path": "d"}, "trainable": ["all"]}`), "", sets)
	if e, ok := errors.AsType[*Error](err); ok {
		return nil, e.Message
	}
	return c, ""
}

func describeMethods() (all []message.Method) {
	places := map[string]int{}
	for _, t := range peftTypes {
		for _, v := range t.Variants {
			places[v.Name] = v.Place
			all = append(all, t.describe(v))
		}
	}
	slices.SortStableFunc(all, func(a, b message.Method) int { return cmp.Compare(places[a.Value], places[b.Value]) })
	return all
}

func (t *PEFTType) describe(v Variant) message.Method {
	least := map[string]any{"peft_type": t.Name}
	maps.Copy(least, v.Switch)
	maps.Copy(least, v.Needs)
	text, _ := json.Marshal(least)
	c, refused := try("peft="+string(text), "trainable=[]")
	m := message.Method{
		Value: v.Name, Refused: refused, Title: v.Title,
		Type: t.Name, Switch: v.Switch, Start: maps.Clone(least), Main: v.Main, About: v.About,
	}
	maps.Copy(m.Start, v.Usual)
	for _, s := range t.Settings {
		if i := slices.IndexFunc(sharedSettings, func(shared message.Setting) bool { return shared.Key == s.Key }); i >= 0 {
			s = sharedSettings[i]
		}
		m.Settings = append(m.Settings, s)
	}
	if c != nil {
		m.Defaults, _ = json.Marshal(c.PEFT)
	}
	return m
}

// sharedSettings are the keys of peft that several methods have.
var sharedSettings = []message.Setting{
	{Key: "target_modules", Name: message.Both("Adapted modules", "适配的模块"),
		Help: message.Both("Names of the linear layers, or all-linear.", "线性层的名称，或 all-linear。")},
	{Key: "exclude_modules", Name: message.Both("Modules left out", "排除的模块"),
		Help: message.Both("Names of layers that get no adapter.", "不加适配器的层的名称。")},
	{Key: "modules_to_save", Name: message.Both("Modules trained whole", "完整训练的模块"),
		Help: message.Both("Modules that train beside the adapter and are saved with it.", "与适配器一起训练并保存的模块。")},
	{Key: "base_model_name_or_path", Name: message.Both("Name of the base model", "基础模型名称"),
		Help: message.Both("Written into the adapter's config.", "写入适配器配置。")},
	{Key: "revision", Name: message.Both("Revision of the base", "基础模型版本"),
		Help: message.Both("Written into the adapter's config.", "写入适配器配置。")},
	{Key: "task_type", Name: message.Both("Task", "任务"),
		Help: message.Both("CAUSAL_LM continues text, SEQ_CLS classifies it.", "CAUSAL_LM 续写文本，SEQ_CLS 对其分类。")},
}
