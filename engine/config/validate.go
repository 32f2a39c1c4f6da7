package config

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
)

// Upper limits. They are far above anything sensible: what they stop is a slipped digit or a hostile file.
const (
	maxSteps  = 1e9
	maxEpochs = 1e6
	maxBatch  = 1 << 16 // rows a micro-batch
	maxMicro  = 1 << 20 // micro-batches a step
	maxTokens = 1 << 20 // tokens a row
)

// evaluations is how to get some.
const evaluations = "set training.eval_steps and dataset.validation_split above 0"

// Validate tells whether c can run: nil, or the first *Error found. It looks at no file.
func (c *Config) Validate() error {
	for _, rules := range [][]Rule{
		c.sourceRules(), c.Dataset.rules(), c.Training.rules(), c.samplingRules(), c.Precision.rules(), c.PEFT.rules("peft"), c.trainableRules(), c.roomRules(),
	} {
		if bad := firstBroken(rules); bad != nil {
			return bad
		}
	}
	return nil
}

func (c *Config) sourceRules() []Rule {
	rules := []Rule{Must(c.Model.Path != "" || c.Model.Random != nil, "model", "is missing", `name a model folder, such as "model": "models/stories260k"`)}
	if r := c.Model.Random; r != nil {
		rules = append(rules,
			Must(r.Init == "random", "model.init", NotOneOf(r.Init, []string{"random"}), ""),
			Must(r.Config.Path != "" || r.Config.Object != nil, "model.config", "is missing", "give the model's config.json, in place or as a path"))
	}
	if q := c.Quantization; q != nil {
		rules = append(rules,
			OneOf("quantization", q.Type, []string{"int8", "nf4", "q4_0", "q8_0"}),
			Must(!q.DoubleQuant || q.Type == "nf4", "quantization.double_quant", "is for nf4 only", "set it to false"))
	}
	return append(rules,
		Must(c.InitAdapter == nil || *c.InitAdapter != "", "init_adapter", "is empty", "use null or a PEFT folder"))
}

// roomRules are those of a run that several tabs share.
func (c *Config) roomRules() []Rule {
	f := c.FSDP
	if f == nil {
		return nil
	}
	const local = "leave fsdp out for a local run, which has it"
	t := &c.Training
	return []Rule{
		Within("fsdp.world_size", f.WorldSize, 1, maxTabs),
		Within("fsdp.slots", f.Slots, 1, maxSlots),
		Must(t.Accumulation == 1 || f.Slots == t.Accumulation*f.WorldSize, "fsdp.slots",
			fmt.Sprintf("is %d, but gradient_accumulation_steps × world_size is %d", f.Slots, t.Accumulation*f.WorldSize), "leave one of them out"),
		OneOf("fsdp.sharding_strategy", f.ShardingStrategy, []string{"FULL_SHARD", "SHARD_GRAD_OP", "NO_SHARD", "HYBRID_SHARD"}),
		Within("fsdp.shard_group_size", f.ShardGroupSize, 0, maxTabs),
		Must(wrapPolicy.MatchString(f.AutoWrapPolicy), "fsdp.auto_wrap_policy", fmt.Sprintf("is %q", f.AutoWrapPolicy), "use transformer, size:N with N parameters, or none"),
		Must(f.Reproducible || f.ShardingStrategy == "NO_SHARD", "fsdp.reproducible",
			"false has a tab add up gradients of several micro-batches, for which a tab with shards has no memory", "use sharding_strategy NO_SHARD, or true"),
		Must(c.Precision.ParamDType != "float16", "precision.param_dtype", "float16 is not available in a run over several tabs", "use bfloat16, or "+local).As("local"),
		Must(!c.Precision.StochasticRounding, "precision.stochastic_rounding", "is not available in a run over several tabs", local).As("local"),
		Must(len(c.Unfreeze) == 0, "unfreeze", "is not available in a run over several tabs", local).As("local"),
		Must(t.Resume == nil, "training.resume_from_checkpoint", "is not available in a run over several tabs", local).As("local"),
		Must(t.SaveSteps == 0, "training.save_steps", "is not available in a run over several tabs: the room keeps its own checkpoints", local).As("local"),
		Must(t.Patience == 0, "training.early_stopping_patience", "is not available in a run over several tabs", "set it to 0, or "+local).As("local"),
		Must(!t.LoadBest, "training.load_best_model_at_end", "is not available in a run over several tabs", "set it to false, or "+local).As("local"),
		Must(t.OnSpike == "warn", "training.on_spike", "only warn is available in a run over several tabs", local).As("local"),
		Must(t.OnNonfinite == "skip", "training.on_nonfinite", "only skip is available in a run over several tabs", local).As("local"),
	}
}

// wrapPolicy is what fsdp.Wrap understands.
var wrapPolicy = regexp.MustCompile(`^(transformer|none|size:[1-9][0-9]{0,15})$`)

const (
	maxTabs  = 256
	maxSlots = 1 << 14
)

// ownTemplate is Template, or ModelTemplate where it names one of the model's.
func (s *Dataset) ownTemplate() string {
	if name, ok := strings.CutPrefix(s.Template, NamedTemplate); ok && name != "" {
		return ModelTemplate
	}
	return s.Template
}

func (s *Dataset) rules() []Rule {
	formats, unavailable := formatNames()
	rules := []Rule{
		Must(s.Path != "", "dataset.path", "is missing", `name a data file, such as "dataset": {"path": "data.jsonl"}`),
		OneOf("dataset.format", s.Format, formats, unavailable...),
		OneOf("dataset.template", s.ownTemplate(), Templates),
		OneOf("dataset.on_bad_row", s.OnBadRow, []string{"stop", "skip"}),
		Below("dataset.validation_split", s.ValidationSplit),
	}
	if s.MaxLength != nil {
		rules = append(rules, Within("dataset.max_length", *s.MaxLength, 2, maxTokens))
	}
	known := formatColumns(s.Format)
	next := "its columns are " + quoted(known)
	if len(known) == 0 {
		next = "leave dataset.columns empty"
	}
	for _, key := range slices.Sorted(maps.Keys(s.Columns)) {
		path := "dataset.columns." + key
		rules = append(rules,
			Must(slices.Contains(known, key), path, "is no column of the format "+s.Format, next),
			Must(s.Columns[key] != "", path, "is empty", "name the key that the file uses"))
	}
	return rules
}

// samplingRules is what must hold of how rows are made and of their order.
func (c *Config) samplingRules() []Rule {
	const alone = "set dataset.packing to false"
	packs, before := c.Dataset.Packing, "" // before: the method whose virtual tokens stand before each row
	if c.PEFT != nil {
		if t := findPEFTType(c.PEFT.Type); t != nil && t.BeforeRows {
			before = t.Name
		}
	}
	return []Rule{
		Must(!c.Training.GroupByLength || c.Dataset.Shuffle, "training.group_by_length", "draws an order of its own, and dataset.shuffle is false", "set one of the two").As("own_order"),
		Must(!packs || c.Dataset.Format != "classification" && (c.PEFT == nil || c.PEFT.TaskType != SeqCls), "dataset.packing",
			"is not available in a classification: a classifier reads one class at the end of each row, and a packed row holds several samples", alone).As("packing_classes"),
		Must(!packs || before == "", "dataset.packing",
			"is not available with peft_type "+before+": its virtual tokens stand before each row, and a packed row holds several samples", alone).As("packing_virtual", "method", before),
	}
}

func (t *Training) rules() []Rule {
	rules := []Rule{
		Within("training.learning_rate", t.LearningRate, 0, math.MaxFloat32),
		Within("training.weight_decay", t.WeightDecay, 0, math.MaxFloat32),
		Below("training.adam_beta1", t.Beta1),
		Below("training.adam_beta2", t.Beta2),
		Must(float32(t.Epsilon) > 0 && t.Epsilon <= 1, "training.adam_epsilon", fmt.Sprintf("is %v, wants more than 0 in single precision and at most 1", t.Epsilon), "").As("positive_fraction", "value", t.Epsilon),
		Within("training.warmup_steps", t.WarmupSteps, 0, maxSteps),
		Within("training.warmup_ratio", t.WarmupRatio, 0, 1),
		Within("training.max_grad_norm", t.MaxGradNorm, 0, math.MaxFloat32),
		Must(t.LayerLRDecay > 0 && t.LayerLRDecay <= 1, "training.layer_lr_decay", fmt.Sprintf("is %v, wants more than 0 and at most 1", t.LayerLRDecay), "").As("positive_fraction", "value", t.LayerLRDecay),
		Within("training.per_device_train_batch_size", t.BatchSize, 1, maxBatch),
		Within("training.gradient_accumulation_steps", t.Accumulation, 1, maxMicro),
		Within("training.num_train_epochs", t.Epochs, 0, maxEpochs),
		Within("training.max_steps", t.MaxSteps, -1, maxSteps),
		Must(t.Epochs > 0 || t.MaxSteps > 0, "training.num_train_epochs", "is 0, so no step would be taken", "raise it, or set training.max_steps").As("no_steps"),
		Must(t.Seed < 1<<53, "training.seed", "is larger than a browser's numbers hold", "use less than 2^53"),
		Within("training.eval_steps", t.EvalSteps, 0, maxSteps),
		Within("training.save_steps", t.SaveSteps, 0, maxSteps),
		Within("training.save_total_limit", t.SaveTotalLimit, 0, maxSteps),
		Must(t.Resume == nil || *t.Resume != "", "training.resume_from_checkpoint", "is empty", "use null or a checkpoint folder"),
		Within("training.early_stopping_patience", t.Patience, 0, maxSteps),
		OneOf("training.on_nonfinite", t.OnNonfinite, []string{"skip", "stop", "rollback"}),
		OneOf("training.on_spike", t.OnSpike, []string{"warn", "stop", "rollback"}),
		Within("training.neftune_noise_alpha", t.NEFTuneAlpha, 0, 1e6),
		Below("training.label_smoothing_factor", t.LabelSmoothing),
	}
	rules = append(rules, t.schedulerRules()...)
	for i, pattern := range t.NoDecay {
		_, err := regexp.Compile(pattern)
		rules = append(rules, Must(err == nil, index("training.no_decay", i), fmt.Sprintf("is no regular expression: %v", err), ""))
	}
	return rules
}

func (p *Precision) rules() []Rule {
	return []Rule{
		OneOf("precision.param_dtype", p.ParamDType, []string{"float32", "bfloat16", "float16"}),
		OneOf("precision.reduce_dtype", p.ReduceDType, []string{"float32", "bfloat16"}),
		OneOf("precision.buffer_dtype", p.BufferDType, []string{"float32", "bfloat16", "float16"}),
		Must(!p.StochasticRounding || p.ParamDType == "bfloat16", "precision.stochastic_rounding", "is for bfloat16 weights without float32 masters, param_dtype is "+p.ParamDType,
			`set precision.param_dtype to "bfloat16"`).As("bfloat16_only"),
	}
}

// taskRule is about what the adapter's model is for.
func taskRule(p *PEFT) Rule {
	if p == nil {
		return Rule{ok: true}
	}
	return OneOf("peft.task_type", p.TaskType, []string{CausalLM, SeqCls})
}

func (c *Config) trainableRules() (rules []Rule) {
	for i, part := range c.Trainable {
		rules = append(rules, part.rule(index("trainable", i)))
	}
	before := -1
	for k, stage := range c.Unfreeze {
		path := index("unfreeze", k)
		rules = append(rules, Within(join(path, "step"), stage.Step, 0, maxSteps),
			Must(stage.Step > before, join(path, "step"), fmt.Sprintf("is %d, and the stage before begins at %d", stage.Step, before), "put the stages in the order of their steps"),
			Must(k > 0 || stage.Step == 0 || c.PEFT != nil, join(path, "step"), fmt.Sprintf("is %d, and nothing trains before it", stage.Step), "let the first stage begin at step 0"),
			Must(len(stage.Trainable) > 0, join(path, "trainable"), "names nothing to train", `name parts of the model, such as ["lm_head"]`))
		for i, part := range stage.Trainable {
			rules = append(rules, part.rule(index(join(path, "trainable"), i)))
		}
		before = stage.Step
	}
	return append(rules,
		Must(len(c.Unfreeze) == 0 || len(c.Trainable) == 0, "trainable", "is given beside unfreeze, which says for every step what trains", "leave trainable empty, or unfreeze").As("beside_unfreeze"),
		Must(c.InitAdapter == nil || c.PEFT != nil, "init_adapter", "is given, but peft is null", "copy the adapter's adapter_config.json into peft"),
		Must(c.PEFT != nil || len(c.Trainable) > 0 || len(c.Unfreeze) > 0, "trainable", "nothing would train: peft is null and trainable is empty",
			`set "trainable": ["all"] or "peft": {"peft_type": "LORA"}`).As("nothing_trains"),
		taskRule(c.PEFT),
		Must(c.Training.EvalSteps == 0 || c.Dataset.ValidationSplit > 0, "training.eval_steps", "is set, but there is nothing to evaluate on",
			"set dataset.validation_split above 0").As("nothing_held_out"),
		Must(!c.Training.EvalOnStart || c.Dataset.ValidationSplit > 0, "training.eval_on_start", "is set, but there is nothing to evaluate on",
			"set dataset.validation_split above 0").As("nothing_held_out"),
		Must(c.Training.EvalSteps > 0 || c.Training.Patience == 0, "training.early_stopping_patience", "counts evaluations, and there are none", evaluations).As("no_evaluations"),
		Must(c.Training.EvalSteps > 0 || !c.Training.LoadBest, "training.load_best_model_at_end", "needs evaluations to tell what is best", evaluations).As("no_evaluations"))
}
