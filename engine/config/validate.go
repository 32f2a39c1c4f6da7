package config

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
)

var peftType = reflect.TypeFor[PEFT]()

// Upper limits. They are far above anything sensible: what they stop is a slipped digit or a hostile file.
const (
	maxSteps  = 1e9
	maxEpochs = 1e6
	maxBatch  = 1 << 16 // rows a micro-batch
	maxMicro  = 1 << 20 // micro-batches a step
	maxTokens = 1 << 20 // tokens a row
	maxRank   = 1 << 16

	maxVirtual = 1 << 16 // virtual tokens, slots of an attention
	maxEncoder = 1 << 20
)

// columns lists the keys that dataset.columns may rename, by format.
var columns = map[string][]string{
	"auto":              {"text", "instruction", "input", "output", "prompt", "completion", "label"},
	"text":              {"text"},
	"alpaca":            {"instruction", "input", "output"},
	"prompt_completion": {"prompt", "completion"},
	"classification":    {"text", "input_ids", "label"},
	"tokens":            {"input_ids", "label"},
}

// Schedulers are the accepted lr_scheduler_type.
var Schedulers = []string{"constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial", "inverse_sqrt"}

// evaluations is how to get some.
const evaluations = "set training.eval_steps and dataset.validation_split above 0"

// A rule is one thing that must hold.
type rule struct {
	ok                  bool
	path, message, next string
	kind                string // as of an Error
	about               map[string]any
}

func must(ok bool, path, message, next string) rule {
	return rule{ok: ok, path: path, message: message, next: next}
}

// of names what r says, and what it is about as pairs of name and value.
func (r rule) of(kind string, pairs ...any) rule {
	r.kind = kind
	if !r.ok {
		r.about = map[string]any{}
		for i := 0; i < len(pairs); i += 2 {
			r.about[pairs[i].(string)] = pairs[i+1]
		}
	}
	return r
}

func firstBroken(rules []rule) *Error {
	for _, r := range rules {
		if !r.ok {
			return &Error{Path: r.path, Message: r.message, Next: r.next, Kind: r.kind, About: r.about}
		}
	}
	return nil
}

// within is the rule least ≤ v ≤ most.
func within[T int | float64](path string, v, least, most T) rule {
	r := must(v >= least && v <= most, path, fmt.Sprintf("is %v, wants %v to %v", v, least, most), "")
	if v < least && float64(most) >= maxSteps {
		return r.of("at_least", "value", v, "least", least)
	}
	return r.of("range", "value", v, "least", least, "most", most)
}

// below is the rule 0 ≤ v < 1.
func below(path string, v float64) rule {
	return must(v >= 0 && v < 1, path, fmt.Sprintf("is %v, wants 0 or more and less than 1", v), "").of("fraction", "value", v)
}

// oneOf is the rule that v is among ready; a word of later is known, but not available yet.
func oneOf(path, v string, ready []string, later ...string) rule {
	ok := slices.Contains(ready, v)
	if slices.Contains(later, v) {
		return must(ok, path, unavailable(strconv.Quote(v)), "use "+quoted(ready)).of("unavailable", "value", v)
	}
	return must(ok, path, choice(v, slices.Concat(ready, later)), "").of("choice", "value", clip(v), "choices", ready)
}

// only is the rule that v has the one value that this version implements.
func only[T comparable](path string, v, ready T) rule {
	return must(v == ready, path, unavailable(fmt.Sprint(v)), fmt.Sprintf("use %v, the default", ready)).of("unavailable", "value", v)
}

func unavailable(what string) string { return what + " is not available in this version" }

func quoted(words []string) string {
	s := ""
	for i, w := range words {
		if i > 0 {
			s += " or "
		}
		s += strconv.Quote(w)
	}
	return s
}

// Validate tells whether c can run: nil, or the first *Error found. It looks at no file.
func (c *Config) Validate() error {
	for _, rules := range [][]rule{
		c.sourceRules(), c.Dataset.rules(), c.Training.rules(), c.Precision.rules(), c.PEFT.rules("peft"), c.trainableRules(), c.roomRules(),
	} {
		if bad := firstBroken(rules); bad != nil {
			return bad
		}
	}
	return nil
}

func (c *Config) sourceRules() []rule {
	rules := []rule{must(c.Model.Path != "" || c.Model.Random != nil, "model", "is missing", `name a model folder, such as "model": "models/stories260k"`)}
	if r := c.Model.Random; r != nil {
		rules = append(rules,
			must(r.Init == "random", "model.init", choice(r.Init, []string{"random"}), ""),
			must(r.Config.Path != "" || r.Config.Object != nil, "model.config", "is missing", "give the model's config.json, in place or as a path"))
	}
	if q := c.Quantization; q != nil {
		rules = append(rules, oneOf("quantization", q.Type, nil, "int8", "nf4"))
		rules[len(rules)-1].next = "use null"
	}
	return append(rules,
		must(c.InitAdapter == nil || *c.InitAdapter != "", "init_adapter", "is empty", "use null or a PEFT folder"))
}

// roomRules are those of a run that several tabs share.
func (c *Config) roomRules() []rule {
	f := c.FSDP
	if f == nil {
		return nil
	}
	const local = "leave fsdp out for a local run, which has it"
	t := &c.Training
	return []rule{
		within("fsdp.world_size", f.WorldSize, 1, maxTabs),
		within("fsdp.slots", f.Slots, 1, maxSlots),
		must(t.Accumulation == 1 || f.Slots == t.Accumulation*f.WorldSize, "fsdp.slots",
			fmt.Sprintf("is %d, but gradient_accumulation_steps × world_size is %d", f.Slots, t.Accumulation*f.WorldSize), "leave one of them out"),
		oneOf("fsdp.sharding_strategy", f.ShardingStrategy, []string{"FULL_SHARD", "SHARD_GRAD_OP", "NO_SHARD", "HYBRID_SHARD"}),
		within("fsdp.shard_group_size", f.ShardGroupSize, 0, maxTabs),
		must(wrapPolicy.MatchString(f.AutoWrapPolicy), "fsdp.auto_wrap_policy", fmt.Sprintf("is %q", f.AutoWrapPolicy), "use transformer, size:N with N parameters, or none"),
		must(f.Reproducible || f.ShardingStrategy == "NO_SHARD", "fsdp.reproducible",
			"false has a tab add up gradients of several micro-batches, for which a tab with shards has no memory", "use sharding_strategy NO_SHARD, or true"),
		must(c.Precision.ParamDType != "float16", "precision.param_dtype", "float16 is not available in a run over several tabs", "use bfloat16, or "+local).of("local"),
		must(!c.Precision.StochasticRounding, "precision.stochastic_rounding", "is not available in a run over several tabs", local).of("local"),
		must(len(c.Unfreeze) == 0, "unfreeze", "is not available in a run over several tabs", local).of("local"),
		must(t.Resume == nil, "training.resume_from_checkpoint", "is not available in a run over several tabs", local).of("local"),
		must(t.SaveSteps == 0, "training.save_steps", "is not available in a run over several tabs: the room keeps its own checkpoints", local).of("local"),
		must(t.Patience == 0, "training.early_stopping_patience", "is not available in a run over several tabs", "set it to 0, or "+local).of("local"),
		must(!t.LoadBest, "training.load_best_model_at_end", "is not available in a run over several tabs", "set it to false, or "+local).of("local"),
		must(t.OnSpike == "warn", "training.on_spike", "only warn is available in a run over several tabs", local).of("local"),
		must(t.OnNonfinite == "skip", "training.on_nonfinite", "only skip is available in a run over several tabs", local).of("local"),
	}
}

// wrapPolicy is what fsdp.Wrap understands.
var wrapPolicy = regexp.MustCompile(`^(transformer|none|size:[1-9][0-9]{0,15})$`)

const (
	maxTabs  = 256
	maxSlots = 1 << 14
)

func (s *Dataset) rules() []rule {
	rules := []rule{
		must(s.Path != "", "dataset.path", "is missing", `name a data file, such as "dataset": {"path": "data.jsonl"}`),
		oneOf("dataset.format", s.Format, []string{"auto", "text", "tokens", "alpaca", "prompt_completion", "classification"},
			"sharegpt", "messages", "csv"),
		only("dataset.packing", s.Packing, false),
		oneOf("dataset.on_bad_row", s.OnBadRow, []string{"stop", "skip"}),
		below("dataset.validation_split", s.ValidationSplit),
	}
	if s.MaxLength != nil {
		rules = append(rules, within("dataset.max_length", *s.MaxLength, 2, maxTokens))
	}
	known := columns[s.Format]
	next := "its columns are " + quoted(known)
	if len(known) == 0 {
		next = "leave dataset.columns empty"
	}
	for _, key := range slices.Sorted(maps.Keys(s.Columns)) {
		path := "dataset.columns." + key
		rules = append(rules,
			must(slices.Contains(known, key), path, "is no column of the format "+s.Format, next),
			must(s.Columns[key] != "", path, "is empty", "name the key that the file uses"))
	}
	return rules
}

func (t *Training) rules() []rule {
	rules := []rule{
		within("training.learning_rate", t.LearningRate, 0, math.MaxFloat32),
		within("training.weight_decay", t.WeightDecay, 0, math.MaxFloat32),
		below("training.adam_beta1", t.Beta1),
		below("training.adam_beta2", t.Beta2),
		must(float32(t.Epsilon) > 0 && t.Epsilon <= 1, "training.adam_epsilon", fmt.Sprintf("is %v, wants more than 0 in single precision and at most 1", t.Epsilon), "").of("positive_fraction", "value", t.Epsilon),
		oneOf("training.lr_scheduler_type", t.Scheduler, Schedulers),
		within("training.warmup_steps", t.WarmupSteps, 0, maxSteps),
		within("training.max_grad_norm", t.MaxGradNorm, 0, math.MaxFloat32),
		must(t.LayerLRDecay > 0 && t.LayerLRDecay <= 1, "training.layer_lr_decay", fmt.Sprintf("is %v, wants more than 0 and at most 1", t.LayerLRDecay), "").of("positive_fraction", "value", t.LayerLRDecay),
		within("training.per_device_train_batch_size", t.BatchSize, 1, maxBatch),
		within("training.gradient_accumulation_steps", t.Accumulation, 1, maxMicro),
		within("training.num_train_epochs", t.Epochs, 0, maxEpochs),
		within("training.max_steps", t.MaxSteps, -1, maxSteps),
		must(t.Epochs > 0 || t.MaxSteps > 0, "training.num_train_epochs", "is 0, so no step would be taken", "raise it, or set training.max_steps").of("no_steps"),
		must(t.Seed < 1<<53, "training.seed", "is larger than a browser's numbers hold", "use less than 2^53"),
		within("training.eval_steps", t.EvalSteps, 0, maxSteps),
		within("training.save_steps", t.SaveSteps, 0, maxSteps),
		within("training.save_total_limit", t.SaveTotalLimit, 0, maxSteps),
		must(t.Resume == nil || *t.Resume != "", "training.resume_from_checkpoint", "is empty", "use null or a checkpoint folder"),
		within("training.early_stopping_patience", t.Patience, 0, maxSteps),
		oneOf("training.on_nonfinite", t.OnNonfinite, []string{"skip", "stop", "rollback"}),
		oneOf("training.on_spike", t.OnSpike, []string{"warn", "stop", "rollback"}),
	}
	for i, pattern := range t.NoDecay {
		_, err := regexp.Compile(pattern)
		rules = append(rules, must(err == nil, index("training.no_decay", i), fmt.Sprintf("is no regular expression: %v", err), ""))
	}
	return rules
}

func (p *Precision) rules() []rule {
	return []rule{
		oneOf("precision.param_dtype", p.ParamDType, []string{"float32", "bfloat16", "float16"}),
		oneOf("precision.reduce_dtype", p.ReduceDType, []string{"float32", "bfloat16"}),
		oneOf("precision.buffer_dtype", p.BufferDType, []string{"float32", "bfloat16", "float16"}),
		must(!p.StochasticRounding || p.ParamDType == "bfloat16", "precision.stochastic_rounding", "is for bfloat16 weights without float32 masters, param_dtype is "+p.ParamDType,
			`set precision.param_dtype to "bfloat16"`).of("bfloat16_only"),
	}
}

// rules of a PEFT that stands at path; none for nil.
func (p *PEFT) rules(path string) []rule {
	if p == nil {
		return nil
	}
	at := func(key string) string { return join(path, key) }
	if t := p.TargetModules; !t.IsZero() && t.Pattern == "" && len(t.Names) == 0 {
		return []rule{must(false, at("target_modules"), "is empty", "name the modules to adapt, or use null for the usual ones").of("empty")}
	}
	switch p.Type {
	case LORA:
		return p.loraRules(at)
	case IA3:
		subset := true
		for _, name := range p.FeedForward.Names {
			subset = subset && (p.TargetModules.Names == nil || slices.Contains(p.TargetModules.Names, name))
		}
		return []rule{must(subset, at("feedforward_modules"), "names a module that target_modules does not", "PEFT wants a subset of target_modules")}
	case AdaptionPrompt:
		usual := p.TargetModules.IsZero() || p.TargetModules.Pattern == "self_attn" || slices.Equal(p.TargetModules.Names, []string{"self_attn"})
		return []rule{
			within(at("adapter_len"), p.AdapterLen, 1, maxVirtual),
			within(at("adapter_layers"), p.AdapterLayers, 1, maxRank),
			must(usual, at("target_modules"), "names other modules than self_attn, the attention of Llama", "leave it out"),
		}
	}
	rules := []rule{
		within(at("num_virtual_tokens"), p.VirtualTokens, 1, maxVirtual),
		within(at("token_dim"), p.TokenDim, 0, math.MaxInt32),
		within(at("num_attention_heads"), p.Heads, 0, math.MaxInt32),
		within(at("num_layers"), p.Layers, 0, math.MaxInt32),
		must(p.Submodules == 0 || p.Submodules == 1, at("num_transformer_submodules"), "is not 1, and a decoder is one", "leave it out"),
	}
	if p.Type == PrefixTuning {
		return append(rules,
			within(at("encoder_hidden_size"), p.EncoderHidden, 0, maxEncoder),
			must(p.InitPrefix == "" || p.InitPrefix == "zero", at("init_weights"), choice(p.InitPrefix, []string{"null", "zero"}), ""))
	}
	return append(rules,
		oneOf(at("prompt_tuning_init"), p.InitPrompt, []string{PromptRandom, PromptText, PromptSample}),
		must(p.InitPrompt != PromptText || p.InitText != "", at("prompt_tuning_init_text"), "is missing, and prompt_tuning_init is TEXT", "give the text to start from").of("empty"))
}

func (p *PEFT) loraRules(at func(string) string) []rule {
	regex := p.TargetModules.Pattern != ""
	rules := []rule{
		within(at("r"), p.R, 1, maxRank),
		within(at("lora_alpha"), p.Alpha, 0, math.MaxFloat32),
		below(at("lora_dropout"), p.Dropout),
		oneOf(at("bias"), p.Bias, []string{"none", "all", "lora_only"}),
		must(p.LayersToTransform == nil || len(p.LayersToTransform) > 0, at("layers_to_transform"), "names no layer", "use null for all"),
		must(p.LayersToTransform == nil || !regex, at("layers_to_transform"), "goes with a list of target_modules only", "put the layers into the regular expression"),
		must(p.LayersPattern == nil || p.LayersToTransform != nil, at("layers_pattern"), "says nothing without layers_to_transform", "leave it out"),
	}
	for i, layer := range p.LayersToTransform {
		rules = append(rules, within(index(at("layers_to_transform"), i), layer, 0, maxRank))
	}
	for _, e := range p.RankPattern {
		rules = append(rules, within(at("rank_pattern."+e.Key), e.Value, 1, maxRank))
	}
	for _, e := range p.AlphaPattern {
		rules = append(rules, within(at("alpha_pattern."+e.Key), e.Value, 0, math.MaxFloat32))
	}
	return rules
}

// taskRule is about what the adapter's model is for.
func taskRule(p *PEFT) rule {
	if p == nil {
		return rule{ok: true}
	}
	return oneOf("peft.task_type", p.TaskType, []string{CausalLM, SeqCls})
}

func (c *Config) trainableRules() (rules []rule) {
	for i, part := range c.Trainable {
		rules = append(rules, part.rule(index("trainable", i)))
	}
	before := -1
	for k, stage := range c.Unfreeze {
		path := index("unfreeze", k)
		rules = append(rules, within(join(path, "step"), stage.Step, 0, maxSteps),
			must(stage.Step > before, join(path, "step"), fmt.Sprintf("is %d, and the stage before begins at %d", stage.Step, before), "put the stages in the order of their steps"),
			must(k > 0 || stage.Step == 0 || c.PEFT != nil, join(path, "step"), fmt.Sprintf("is %d, and nothing trains before it", stage.Step), "let the first stage begin at step 0"),
			must(len(stage.Trainable) > 0, join(path, "trainable"), "names nothing to train", `name parts of the model, such as ["lm_head"]`))
		for i, part := range stage.Trainable {
			rules = append(rules, part.rule(index(join(path, "trainable"), i)))
		}
		before = stage.Step
	}
	return append(rules,
		must(len(c.Unfreeze) == 0 || len(c.Trainable) == 0, "trainable", "is given beside unfreeze, which says for every step what trains", "leave trainable empty, or unfreeze").of("beside_unfreeze"),
		must(c.InitAdapter == nil || c.PEFT != nil, "init_adapter", "is given, but peft is null", "copy the adapter's adapter_config.json into peft"),
		must(c.PEFT != nil || len(c.Trainable) > 0 || len(c.Unfreeze) > 0, "trainable", "nothing would train: peft is null and trainable is empty",
			`set "trainable": ["all"] or "peft": {"peft_type": "LORA"}`).of("nothing_trains"),
		taskRule(c.PEFT),
		must(c.Training.EvalSteps == 0 || c.Dataset.ValidationSplit > 0, "training.eval_steps", "is set, but there is nothing to evaluate on",
			"set dataset.validation_split above 0").of("nothing_held_out"),
		must(!c.Training.EvalOnStart || c.Dataset.ValidationSplit > 0, "training.eval_on_start", "is set, but there is nothing to evaluate on",
			"set dataset.validation_split above 0").of("nothing_held_out"),
		must(c.Training.EvalSteps > 0 || c.Training.Patience == 0, "training.early_stopping_patience", "counts evaluations, and there are none", evaluations).of("no_evaluations"),
		must(c.Training.EvalSteps > 0 || !c.Training.LoadBest, "training.load_best_model_at_end", "needs evaluations to tell what is best", evaluations).of("no_evaluations"))
}
