package peft

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"llamatab/engine/config"
	"llamatab/engine/message"
	"llamatab/engine/nn"
)

// Upper limits of settings. They are far above anything sensible: they stop a slipped digit or a hostile file.
const (
	maxRank    = 1 << 16
	maxVirtual = 1 << 16 // virtual tokens, slots of an attention
	maxEncoder = 1 << 20
)

// LoRAConfig holds the settings of LoRA and DoRA, under the names of PEFT's LoraConfig.
type LoRAConfig struct {
	R                 int                      `json:"r"`
	Alpha             float64                  `json:"lora_alpha"`   // the adapter is scaled by alpha/r, or alpha/√r with RSLoRA
	Dropout           float64                  `json:"lora_dropout"` // [0, 1)
	RSLoRA            bool                     `json:"use_rslora"`
	DoRA              bool                     `json:"use_dora"`
	Bias              string                   `json:"bias"`                // which of the base's biases train: none, all or lora_only
	BiasOfB           bool                     `json:"lora_bias"`           // B has a bias of its own
	LayersToTransform config.Ints              `json:"layers_to_transform"` // nil: all
	LayersPattern     config.Strings           `json:"layers_pattern"`
	RankPattern       config.Patterns[int]     `json:"rank_pattern"`  // ranks that differ from R
	AlphaPattern      config.Patterns[float64] `json:"alpha_pattern"` // alphas that differ from Alpha
	Init              InitLoRA                 `json:"init_lora_weights"`
}

func init() {
	Register(Descriptor{
		Type: &config.PEFTType{
			Name: "LORA", Place: 10,
			New: func() any { return &LoRAConfig{R: 8, Alpha: 8, Init: InitDefault, Bias: "none"} },
			Settings: []message.Setting{
				{Key: "r", Name: message.Both("Rank r", "秩 r"), Help: message.Both("Width of the adapter: more learns more and weighs more.", "适配器的宽度：越大能学得越多，也越重。")},
				{Key: "lora_alpha", Name: message.Both("Alpha", "Alpha"), Help: message.Both("Strength of the adapter; often twice the rank.", "适配器的强度；常取秩的两倍。")},
				{Key: "lora_dropout", Name: message.Both("Dropout", "Dropout"), Help: message.Both("Part of the adapter's inputs left out at random while training.", "训练时随机丢弃的适配器输入比例。")},
				{Key: "target_modules"}, {Key: "exclude_modules"},
				{Key: "use_rslora", Name: message.Both("Rank-stabilised scaling", "秩稳定缩放"), Help: message.Both("Scales by alpha/√r instead of alpha/r.", "以 alpha/√r 而非 alpha/r 缩放。")},
				doraSetting,
				{Key: "init_lora_weights", Name: message.Both("Initial values", "初始值"), Help: message.Both("How the adapter starts; true leaves the model unchanged at first.", "适配器的起点；true 时模型起初不变。")},
				{Key: "layers_to_transform", Name: message.Both("Only these layers", "仅限这些层"), Help: message.Both("Numbers of the blocks that get an adapter, as a JSON list.", "加适配器的块的编号，JSON 列表。")},
				{Key: "layers_pattern", Name: message.Both("Name of the layer list", "层列表名称"), Help: message.Both("Where the layer numbers stand in module names.", "层编号在模块名中的位置。")},
				{Key: "rank_pattern", Name: message.Both("Ranks by module", "按模块设秩"), Help: message.Both("Ranks that differ, by pattern, as JSON.", "不同模块的秩，按模式，JSON。")},
				{Key: "alpha_pattern", Name: message.Both("Alphas by module", "按模块设 alpha"), Help: message.Both("Alphas that differ, by pattern, as JSON.", "不同模块的 alpha，按模式，JSON。")},
				{Key: "bias", Name: message.Both("Biases", "偏置"), Help: message.Both("Which biases of the base train as well: none, all or lora_only.", "基础模型的哪些偏置也训练：none、all 或 lora_only。")},
				{Key: "lora_bias", Name: message.Both("Bias of B", "B 的偏置"), Help: message.Both("Each adapter also learns a bias. It can be merged only into layers that have one.", "每个适配器还学习一个偏置。只能合并到本身带偏置的层。")},
				{Key: "modules_to_save"}, {Key: "base_model_name_or_path"}, {Key: "revision"}, {Key: "task_type"},
			},
			Refused: []string{
				"alora_invocation_tokens", "arrow_config", "bdlora_config", "corda_config", "ensure_weight_tying", "eva_config",
				"fan_in_fan_out", "kasa_config", "layer_replication", "loftq_config", "lora_ga_config", "megatron_config",
				"monteclora_config", "target_parameters", "trainable_token_indices", "use_bdlora", "use_qalora", "velora_config",
			},
			Past:        []string{"corda_config", "eva_config", "fan_in_fan_out", "loftq_config", "lora_ga_config"},
			NullIfEmpty: []string{"layers_to_transform", "layers_pattern"},
			// B is 0 or the pair's product is, and the base stays as it is: what the file holds is all there is to it.
			AsSaved: map[string]map[string]any{"init_lora_weights": {"eva": true, "orthogonal": true}},
			Inert:   []string{"megatron_core", "qalora_group_size", "runtime_config"},
			Since:   []string{"exclude_modules", "lora_bias"},
			Constant: map[string]any{
				"fan_in_fan_out": false, "layer_replication": nil, "loftq_config": struct{}{}, "megatron_config": nil, "megatron_core": "megatron.core",
			},
			Rules:  loraRules,
			Counts: loraCounts,
			Variants: []config.Variant{
				{
					Name: "LORA", Title: message.Both("LoRA", "LoRA"), Place: 10,
					About: message.Both("a small adapter beside each layer: quick, little memory", "每层旁的小适配器：快，内存少"),
					Usual: loraUsual, Main: loraMain,
				},
				doraVariant,
			},
			Examples: []config.Example{
				{
					Name: "lora-all-r16", Place: 30, Trains: "low-rank pairs of rank 16 on every linear layer",
					Title: message.Both("LoRA of rank 16 on every linear layer", "所有线性层上的 LoRA，秩 16"), Rate: 1e-2,
					Key: "peft", Value: always(map[string]any{"peft_type": "LORA", "r": 16, "lora_alpha": 32, "target_modules": "all-linear"}),
				},
				{
					Name: "lora-qv-r8", Place: 40, Trains: "low-rank pairs of rank 8 on queries and values",
					Title: message.Both("LoRA of rank 8 on queries and values", "查询和值上的 LoRA，秩 8"), Rate: 1e-2,
					Key: "peft", Value: always(map[string]any{"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": DefaultTargets}),
				},
				doraExample,
			},
		},
		Mark: ".lora_",
		Resolve: func(d *nn.Decoder, cfg *config.PEFT) error {
			resolveTargets(d, &cfg.TargetModules, DefaultTargets)
			return nil
		},
		Make: newLoRA,
	})
}

// What the page sets when LoRA is chosen, and which settings it shows first.
var (
	loraUsual = map[string]any{"r": 8, "lora_alpha": 16, "target_modules": "all-linear"}
	loraMain  = []string{"r", "lora_alpha"}
)

// DefaultTargets are the modules that PEFT adapts in Llama where target_modules is null.
var DefaultTargets = []string{"q_proj", "v_proj"}

func loraRules(p *config.PEFT, at func(string) string) []config.Rule {
	c := p.Own.(*LoRAConfig)
	regex := p.TargetModules.Pattern != ""
	rules := []config.Rule{
		config.Within(at("r"), c.R, 1, maxRank),
		config.Within(at("lora_alpha"), c.Alpha, leastAlpha(p), math.MaxFloat32),
		config.Below(at("lora_dropout"), c.Dropout),
		config.OneOf(at("bias"), c.Bias, []string{"none", "all", "lora_only"}),
		config.Must(!c.BiasOfB || !c.DoRA, at("lora_bias"), "does not go with use_dora, as in PEFT", "leave one of the two out").As("beside", "other", "use_dora"),
		config.Must(!c.BiasOfB || c.Init == InitDefault || c.Init == InitRandom, at("lora_bias"), "goes with init_lora_weights true or false only, as in PEFT", "leave init_lora_weights out"),
		config.Must(c.LayersToTransform == nil || len(c.LayersToTransform) > 0, at("layers_to_transform"), "names no layer", "use null for all"),
		config.Must(c.LayersToTransform == nil || !regex, at("layers_to_transform"), "goes with a list of target_modules only", "put the layers into the regular expression"),
		config.Must(c.LayersPattern == nil || c.LayersToTransform != nil, at("layers_pattern"), "says nothing without layers_to_transform", "leave it out"),
	}
	for i, layer := range c.LayersToTransform {
		rules = append(rules, config.Within(fmt.Sprintf("%s[%d]", at("layers_to_transform"), i), layer, 0, maxRank))
	}
	for _, e := range c.RankPattern {
		rules = append(rules, config.Within(at("rank_pattern."+e.Key), e.Value, 1, maxRank))
	}
	for _, e := range c.AlphaPattern {
		rules = append(rules, config.Within(at("alpha_pattern."+e.Key), e.Value, leastAlpha(p), math.MaxFloat32))
	}
	return rules
}

// leastAlpha: a saved adapter may be subtracted, as in task arithmetic (Ilharco et al. 2022, arXiv:2212.04089).
func leastAlpha(p *config.PEFT) float64 {
	if p.Loaded {
		return -math.MaxFloat32
	}
	return 0
}

// loraCounts: where two adapters meet, the weights are there, so how they started is of no account, unless the base is
// another for it.
func loraCounts(p *config.PEFT, key string) bool {
	return key != "init_lora_weights" || p.Own.(*LoRAConfig).Init.MovesBase()
}

// InitLoRA is how the adapter starts.
type InitLoRA string

// The implemented ways. The first two have B = 0; the last two take the pair out of the base's weight.
const (
	InitDefault  InitLoRA = "true"     // A uniform in ±1/√in
	InitGaussian InitLoRA = "gaussian" // A normal with standard deviation 1/r
	InitRandom   InitLoRA = "false"    // A and B as a fresh linear layer: not a no-op
	InitPiSSA    InitLoRA = "pissa"    // the largest singular values of the weight
	InitOLoRA    InitLoRA = "olora"    // the beginning of its QR decomposition
)

// MovesBase tells whether the adapter starts as a part of the base's weights, which these then lack.
func (i InitLoRA) MovesBase() bool { return i == InitPiSSA || i == InitOLoRA }

// UnmarshalJSON implements json.Unmarshaler.
func (i *InitLoRA) UnmarshalJSON(text []byte) error {
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		return err
	}
	switch v := value.(type) {
	case bool:
		*i = InitLoRA(strconv.FormatBool(v))
		return nil
	case string:
		if slices.Contains([]InitLoRA{InitGaussian, InitPiSSA, InitOLoRA}, InitLoRA(v)) {
			*i = InitLoRA(v)
			return nil
		}
		for _, moving := range []string{"pissa_niter_", "corda", "loftq", "lora_ga", "mica"} {
			if strings.HasPrefix(v, moving) {
				return config.Unavailable(v, "it takes a part out of the base's weights: save the adapter again with path_initial_model_for_weight_conversion, or merged")
			}
		}
		return config.Unavailable(v, `true, false, "gaussian", "pissa" and "olora" are`)
	}
	return config.Wants(`true, false, "gaussian", "pissa" or "olora"`)
}

// MarshalJSON implements json.Marshaler.
func (i InitLoRA) MarshalJSON() ([]byte, error) {
	if i == InitDefault || i == InitRandom {
		return []byte(i), nil
	}
	return json.Marshal(string(i))
}
