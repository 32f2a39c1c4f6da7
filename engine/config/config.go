// Package config is run.json: its types, defaults and validation.
//
// A file is read strictly: an unknown key, a repeated key or a value of the wrong type is an *Error that names the
// JSON path, so a misspelt setting never goes unnoticed. What Parse returns is complete: every default is filled in, and
// its JSON parses to the same Config again.
//
// Names and meanings are those of Hugging Face TrainingArguments, PEFT's config classes and PyTorch FSDP. The methods of
// PEFT and the formats of data are registered by the packages that compute them (PEFTType, Format).
// The package imports nothing of the engine but message.
package config

import (
	"encoding/json"
	"math"
	"strings"
)

// Config is a whole run.json.
type Config struct {
	Model        Model         `json:"model"`
	Quantization *Quantization `json:"quantization"` // of the frozen base; nil: none
	Dataset      Dataset       `json:"dataset"`
	PEFT         *PEFT         `json:"peft"`         // nil: no adapter
	InitAdapter  *string       `json:"init_adapter"` // PEFT folder to start from
	Trainable    []Part        `json:"trainable"`    // what of the base model trains
	Unfreeze     []Stage       `json:"unfreeze"`     // progressive unfreezing
	Training     Training      `json:"training"`
	Precision    Precision     `json:"precision"`
	FSDP         *FSDP         `json:"fsdp"` // nil: a local run

	// Kernels is the table of kernel variants that a run chose, kernel name to variant. It is written into the
	// resolved run.json, and a run that is given one uses it: same adapter and same run.json give the same bits.
	Kernels map[string]string `json:"kernels,omitempty"`
}

// Dataset says what is trained on and how its rows become tokens.
type Dataset struct {
	Path            string            `json:"path"`
	Format          string            `json:"format"`
	Columns         map[string]string `json:"columns"`    // the format's own key → the key that the file uses for it
	MaxLength       *int              `json:"max_length"` // tokens a row; nil: min(1024, the model's context)
	Packing         bool              `json:"packing"`
	TrainOnPrompt   bool              `json:"train_on_prompt"`
	Template        string            `json:"template"`   // of conversations: one of Templates, or NamedTemplate with a name
	OnBadRow        string            `json:"on_bad_row"` // what a malformed row does: "stop" or "skip"
	Shuffle         bool              `json:"shuffle"`
	ValidationSplit float64           `json:"validation_split"` // fraction of the rows, [0, 1)
}

// ModelTemplate stands for the chat template of the model itself, or a built-in one where it has none.
const ModelTemplate = "model"

// NamedTemplate stands before the name of one of a model's chat templates, where it has several: "model:tool_use".
const NamedTemplate = ModelTemplate + ":"

// Templates are the words of dataset.template: the model's own chat template, and the built-in ones of package chat.
var Templates = []string{ModelTemplate, "chatml", "llama3", "plain", "zephyr"}

// Training holds the optimizer, its schedule and the loop around it.
type Training struct {
	LearningRate float64  `json:"learning_rate"`
	WeightDecay  float64  `json:"weight_decay"` // decoupled
	Beta1        float64  `json:"adam_beta1"`
	Beta2        float64  `json:"adam_beta2"`
	Epsilon      float64  `json:"adam_epsilon"`
	NoDecay      []string `json:"no_decay"` // regular expressions over parameter names

	Scheduler   string  `json:"lr_scheduler_type"`
	WarmupSteps int     `json:"warmup_steps"`
	WarmupRatio float64 `json:"warmup_ratio,omitempty"` // part of all steps, where WarmupSteps is 0
	// SchedulerKwargs are settings of the schedule; nil: its defaults.
	SchedulerKwargs *SchedulerKwargs `json:"lr_scheduler_kwargs,omitempty"`
	MaxGradNorm     float64          `json:"max_grad_norm" null:"zero"` // global L2 norm; 0 or null: no clipping
	LayerLRDecay    float64          `json:"layer_lr_decay"`            // γ: a block d below the top learns at γ^d

	BatchSize    int     `json:"per_device_train_batch_size"` // rows a micro-batch
	Accumulation int     `json:"gradient_accumulation_steps"` // micro-batches a step
	Epochs       float64 `json:"num_train_epochs"`
	MaxSteps     int     `json:"max_steps"` // > 0 overrides Epochs

	GroupByLength  bool    `json:"group_by_length,omitempty"`                 // rows of similar length share a step
	NEFTuneAlpha   float64 `json:"neftune_noise_alpha,omitempty" null:"zero"` // noise on the embeddings while training; 0: none
	LabelSmoothing float64 `json:"label_smoothing_factor,omitempty"`          // ε: part of the loss that is the mean over the vocabulary

	Checkpointing Checkpointing `json:"gradient_checkpointing"`
	Seed          uint64        `json:"seed"`

	EvalOnStart    bool    `json:"eval_on_start"`    // before anything has been learnt
	EvalSteps      int     `json:"eval_steps"`       // 0: never
	SaveSteps      int     `json:"save_steps"`       // 0: only at the end
	SaveTotalLimit int     `json:"save_total_limit"` // checkpoints kept; 0: all
	Resume         *string `json:"resume_from_checkpoint"`

	Patience    int    `json:"early_stopping_patience"` // evaluations without improvement; 0: off
	LoadBest    bool   `json:"load_best_model_at_end"`
	OnNonfinite string `json:"on_nonfinite"`
	OnSpike     string `json:"on_spike"`
}

// Warmup is the number of warm-up steps of a run of total steps, by the rule of transformers: warmup_steps, or where it is
// 0 the part warmup_ratio of all steps, rounded up.
func (t *Training) Warmup(total int) int {
	if t.WarmupSteps > 0 {
		return t.WarmupSteps
	}
	return int(math.Ceil(float64(total) * t.WarmupRatio))
}

// Precision holds the number formats of a run.
type Precision struct {
	ParamDType         string `json:"param_dtype"`  // weights as compute sees them, and stored activations
	ReduceDType        string `json:"reduce_dtype"` // gradients on the wire; of no effect in a local run
	BufferDType        string `json:"buffer_dtype"`
	StochasticRounding bool   `json:"stochastic_rounding"`
}

// FSDP describes a run that several tabs share.
type FSDP struct {
	WorldSize        int    `json:"world_size"`
	Slots            int    `json:"slots"` // micro-batches a step is cut into; 0: accumulation × world size
	ShardingStrategy string `json:"sharding_strategy"`
	ShardGroupSize   int    `json:"shard_group_size"` // of HYBRID_SHARD; 0: half of the world
	AutoWrapPolicy   string `json:"auto_wrap_policy"`
	BackwardPrefetch bool   `json:"backward_prefetch"`
	Reproducible     bool   `json:"reproducible"`
}

// Shards is the number of parts that what trains is cut into.
func (f *FSDP) Shards() int {
	switch {
	case f.ShardingStrategy == "NO_SHARD":
		return 1
	case f.ShardingStrategy != "HYBRID_SHARD":
		return f.WorldSize
	case f.ShardGroupSize > 0:
		return min(f.ShardGroupSize, f.WorldSize)
	}
	return (f.WorldSize + 1) / 2
}

// Micro is the number of micro-batches of a step, in one tab or over all tabs.
func (c *Config) Micro() int {
	if c.FSDP != nil {
		return c.FSDP.Slots
	}
	return c.Training.Accumulation
}

func (f *FSDP) defaults() {
	*f = FSDP{WorldSize: 1, ShardingStrategy: "FULL_SHARD", AutoWrapPolicy: "transformer", BackwardPrefetch: true, Reproducible: true}
}

// Default is the run.json of an empty object. It does not validate: model and dataset.path have no default, and
// nothing trains yet.
func Default() *Config {
	return &Config{
		Dataset:   Dataset{Format: "auto", Columns: map[string]string{}, OnBadRow: "stop", Template: ModelTemplate, Shuffle: true},
		Trainable: []Part{},
		Unfreeze:  []Stage{},
		Training: Training{
			LearningRate: 2e-4, WeightDecay: 0.01, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8, NoDecay: []string{},
			Scheduler: "linear", MaxGradNorm: 1, LayerLRDecay: 1,
			BatchSize: 4, Accumulation: 1, Epochs: 1, MaxSteps: -1,
			Seed: 42, SaveTotalLimit: 2, OnNonfinite: "skip", OnSpike: "warn",
		},
		Precision: Precision{ParamDType: "float32", ReduceDType: "bfloat16", BufferDType: "float32"},
	}
}

// Parse reads a run.json strictly, fills in every default and validates. file names it in errors, which are *Error.
func Parse(data []byte, file string) (*Config, error) { return ParseWithSets(data, file, nil) }

// ParseWithSets is Parse after each "path.to.key=value" of sets has been put into the JSON tree, in order. A value is
// JSON where it parses as JSON, else a string; objects on the way to it are created.
func ParseWithSets(data []byte, file string, sets []string) (*Config, error) {
	return ParseOver(data, file, nil, sets)
}

// ParseOver is ParseWithSets with defaults of its own: a key that data does not set is taken from below. nil is none.
func ParseOver(data []byte, file string, below []byte, sets []string) (*Config, error) {
	d := &decoder{file: file, src: trimBOM(data)}
	root, err := d.tree()
	if err != nil {
		return nil, err
	}
	if below != nil {
		base, err := (&decoder{src: below}).tree()
		if err != nil {
			return nil, err
		}
		base.unplace()
		root.over(base)
	}
	for _, s := range sets {
		path, value, ok := strings.Cut(s, "=")
		if !ok {
			return nil, &Error{Path: s, Message: "a setting has the form path.to.key=value"}
		}
		if err := root.set(path, value); err != nil {
			return nil, err
		}
	}
	c := Default()
	if err := d.into(root, "", c); err != nil {
		return nil, err
	}
	if c.FSDP != nil && c.FSDP.Slots == 0 {
		c.FSDP.Slots = c.Training.Accumulation * c.FSDP.WorldSize
	}
	if err := c.Validate(); err != nil {
		if e, ok := err.(*Error); ok && e.File == "" {
			e.File = file
		}
		return nil, err
	}
	return c, nil
}

// Set changes one value by its path, as --set does, and validates the whole again. c is untouched on error.
func (c *Config) Set(path, value string) error {
	data, err := json.Marshal(c)
	if err != nil {
		return &Error{Path: path, Message: err.Error()}
	}
	changed, err := ParseWithSets(data, "", []string{path + "=" + value})
	if err != nil {
		return err
	}
	*c = *changed
	return nil
}
