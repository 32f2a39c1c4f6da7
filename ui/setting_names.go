package ui

import "slices"

// words are the name and the help text of a setting, in both languages.
type words struct{ en, zh, helpEN, helpZH string }

func (k words) label(w *Words) string {
	if w.chinese {
		return k.zh
	}
	return k.en
}

func (k words) help(w *Words) string {
	if w.chinese {
		return k.helpZH
	}
	return k.helpEN
}

// setting is the words of a key by its path. Those of adapters come with the description of the settings.
type setting struct {
	path string
	words
}

// settings has every setting, in the order of the page.
var settings = []setting{
	{"quantization", words{"Quantization", "量化", "Stores the frozen base weights in fewer bits.", "用更少的位数存放冻结的基础权重。"}},
	{"init_adapter", words{"Start from an adapter", "起始适配器", "A PEFT folder whose values training starts from.", "训练从这个 PEFT 文件夹的数值开始。"}},
	{"trainable", words{"Trains besides the adapter", "适配器之外训练的部分", "A list of parts of the base model, such as [\"lm_head\", \"layers:last:2\"], or an added head.", "基础模型中参与训练的部分，例如 [\"lm_head\", \"layers:last:2\"]，或新增的输出头。"}},
	{"unfreeze", words{"Progressive unfreezing", "逐步解冻", "A schedule: from which step on which parts train.", "时间表：从哪一步起训练哪些部分。"}},
	{"fsdp", words{"Several tabs", "多标签页", "How a run is shared by several tabs; empty for a local run.", "多个标签页如何分担训练；留空为本地训练。"}},

	{"dataset.format", words{"Format of the data", "数据格式", "How rows are read. auto looks at the first one.", "如何读取各行；auto 会查看第一行。"}},
	{"dataset.columns", words{"Column names", "列名", "Which key of the file plays which role, as JSON: {\"prompt\": \"question\"}.", "文件中的哪个键充当哪个角色，JSON 格式：{\"prompt\": \"question\"}。"}},
	{"dataset.on_bad_row", words{"Malformed rows", "损坏的行", "Stop with the line's number, or leave the row out and say so.", "停下并报告行号，或略过该行并说明。"}},
	{"dataset.max_length", words{"Tokens a row", "每行词元数", "At most: longer rows are cut. Fewer need less memory.", "上限：更长的行会被截断。越少占用的内存越少。"}},
	{"dataset.packing", words{"Pack short rows", "打包短行", "Joins short samples into full rows, so that little is padding. They do not see each other. A full row counts as one of a batch.", "把短样本拼成满行，几乎没有填充；样本之间互不可见。拼成的一行在批中算一行。"}},
	{"dataset.train_on_prompt", words{"Learn the prompt, too", "也学习提示", "Off: only the answer counts in the loss.", "关闭时只有回答计入损失。"}},
	{"dataset.template", words{"Chat template", "对话模板", "Puts the turns of a conversation together: the model's own, or a built-in one.", "把对话的各轮拼接成文本：模型自带的，或内置的。"}},
	{"dataset.shuffle", words{"Shuffle rows", "打乱顺序", "A new order in each epoch, decided by the seed.", "每轮换一个顺序，由种子决定。"}},
	{"dataset.validation_split", words{"Held-out part", "留出比例", "The part of the rows that is only used to measure, 0 to 1.", "只用于评估的行所占比例，0 到 1。"}},

	{"training.max_steps", words{"Steps", "步数", "Updates to take. −1: as many as the epochs need.", "要做的更新次数。−1 表示由轮数决定。"}},
	{"training.num_train_epochs", words{"Epochs", "轮数", "How often all rows are seen; steps override it.", "所有行被看几遍；设置步数后以步数为准。"}},
	{"training.learning_rate", words{"Learning rate", "学习率", "Too high: the loss jumps. Too low: nothing is learned.", "太高损失会跳动，太低学不到东西。"}},
	{"training.weight_decay", words{"Weight decay", "权重衰减", "Pulls trained weights towards zero a little at every step.", "每一步把训练的权重略微拉向零。"}},
	{"training.adam_beta1", words{"AdamW beta 1", "AdamW beta 1", "How much of the mean gradient is kept from step to step.", "梯度均值在步间保留的比例。"}},
	{"training.adam_beta2", words{"AdamW beta 2", "AdamW beta 2", "The same for the squared gradient.", "梯度平方在步间保留的比例。"}},
	{"training.adam_epsilon", words{"AdamW epsilon", "AdamW epsilon", "Keeps the division by the squared gradient's root tame.", "避免除以过小的梯度平方根。"}},
	{"training.no_decay", words{"Without weight decay", "不衰减的参数", "Patterns of parameter names that weight decay leaves alone, as a JSON list.", "不做权重衰减的参数名模式，JSON 列表。"}},
	{"training.lr_scheduler_type", words{"Learning rate over time", "学习率曲线", "How the rate changes from the first step to the last.", "学习率从第一步到最后一步如何变化。"}},
	{"training.warmup_steps", words{"Warm-up steps", "预热步数", "Steps over which the rate rises from zero.", "学习率从零升起所用的步数。"}},
	{"training.warmup_ratio", words{"Warm-up, part of the steps", "预热比例", "Used where the warm-up steps are 0: 0.1 warms up over a tenth of the run.", "预热步数为 0 时使用：0.1 表示用全程的十分之一预热。"}},
	{"training.lr_scheduler_kwargs", words{"Settings of the curve", "曲线参数", "Of single curves, as JSON: {\"min_lr_rate\": 0.1} ends at a tenth of the rate.", "个别曲线的参数，JSON 格式：{\"min_lr_rate\": 0.1} 表示降到学习率的十分之一为止。"}},
	{"training.max_grad_norm", words{"Gradient clipping", "梯度裁剪", "Longer gradients are shortened to this norm; 0 for none.", "超过此范数的梯度会被缩短；0 表示不裁剪。"}},
	{"training.layer_lr_decay", words{"Lower rate for lower layers", "低层学习率衰减", "A block d below the top learns at this number to the power of d; 1 for all alike.", "距顶层 d 层的块以该数的 d 次方学习；1 表示都一样。"}},
	{"training.per_device_train_batch_size", words{"Batch size", "批大小", "Rows at a time. Fewer need less memory.", "一次处理的行数。越少占用的内存越少。"}},
	{"training.gradient_accumulation_steps", words{"Gradient accumulation", "梯度累积", "Batches that are summed before an update: a large batch without its memory.", "更新前累加的批数：不占内存的大批量。"}},
	{"training.gradient_checkpointing", words{"Recompute activations", "重算激活值", "Saves memory by computing parts twice.", "用重复计算换取内存。"}},
	{"training.group_by_length", words{"Group rows by length", "按长度分组", "Rows of similar length share a step, so that less is padding.", "长度相近的行放在同一步，减少填充。"}},
	{"training.neftune_noise_alpha", words{"Noise on embeddings (NEFTune)", "嵌入噪声 (NEFTune)", "Random noise while training, against learning rows by heart; 5 is usual, 0 for none.", "训练时加入随机噪声，避免死记硬背；常用 5，0 表示不加。"}},
	{"training.label_smoothing_factor", words{"Label smoothing", "标签平滑", "This part of the loss asks for all tokens alike, so that the model is less sure; 0 for none.", "损失中有这一比例对所有词元一视同仁，使模型不过分自信；0 表示不用。"}},
	{"training.seed", words{"Seed", "种子", "The same seed gives the same run.", "相同的种子得到相同的训练。"}},
	{"training.eval_on_start", words{"Evaluate at the start", "开始时评估", "Measure on the held-out rows before anything is learnt, to compare with.", "在学到任何东西之前先在留出行上评估，以便比较。"}},
	{"training.eval_steps", words{"Evaluate every", "评估间隔", "Steps between two measurements on the held-out rows; 0 for never.", "两次在留出行上评估之间的步数；0 表示不评估。"}},
	{"training.save_steps", words{"Checkpoint every", "检查点间隔", "Steps between two checkpoints. The page saves once a minute by itself.", "两个检查点之间的步数。页面本身每分钟保存一次。"}},
	{"training.save_total_limit", words{"Checkpoints kept", "保留检查点数", "Older ones are removed; 0 keeps all.", "更早的会被删除；0 表示全部保留。"}},
	{"training.early_stopping_patience", words{"Early stopping", "提前停止", "Evaluations without improvement until the run stops; 0 for never.", "连续多少次评估没有改善就停止；0 表示从不。"}},
	{"training.load_best_model_at_end", words{"Keep the best", "保留最好的", "The result is the state with the lowest held-out loss.", "结果取留出损失最低时的状态。"}},
	{"training.on_nonfinite", words{"When the loss is not a number", "损失非数值时", "Leave the step out, stop, or go back to the last checkpoint at half the rate.", "跳过这一步、停止，或回到上个检查点并将学习率减半。"}},
	{"training.on_spike", words{"When the loss jumps", "损失突跳时", "Warn, stop, or go back to the last checkpoint at half the rate.", "警告、停止，或回到上个检查点并将学习率减半。"}},

	{"precision.param_dtype", words{"Weights as computed with", "计算用权重格式", "bfloat16 halves weights and activations in memory.", "bfloat16 使权重和激活值占用的内存减半。"}},
	{"precision.reduce_dtype", words{"Gradients on the wire", "传输梯度格式", "Number format between several tabs.", "多个标签页之间传输的数值格式。"}},
	{"precision.buffer_dtype", words{"Buffers", "缓冲格式", "Number format of tables that are no weights.", "非权重表格的数值格式。"}},
	{"precision.stochastic_rounding", words{"Stochastic rounding", "随机舍入", "Rounds up or down by chance, so that small updates are not lost in bfloat16.", "按概率向上或向下舍入，使 bfloat16 下的小更新不丢失。"}},

	{"added.at", words{"Added layers", "新增的层", "Fully connected layers on top of the model.", "在模型顶端新增的全连接层。"}},
	{"added.sizes", words{"Widths", "宽度", "Of the inner layers from bottom to top: 64, 32.", "各内层自下而上的宽度，例如 64, 32。"}},
	{"added.activation", words{"Activation", "激活函数", "Between the added layers.", "新增层之间的激活函数。"}},
	{"added.num_labels", words{"Classes", "类别数", "Empty: as many as the data has labels.", "留空则按数据中的标签数。"}},
	{"unfreeze.way", words{"Unfreezing", "解冻", "A block at a time forgets less.", "逐块解冻，遗忘更少。"}},
	{"unfreeze.blocks", words{"Blocks", "块数", "How many blocks join, from the top down.", "自顶向下加入多少个块。"}},
	{"unfreeze.every", words{"Steps between", "间隔步数", "Steps until the next block joins.", "每隔多少步加入下一块。"}},
}

// settingWords are these words by path.
var settingWords = func() map[string]words {
	all := map[string]words{}
	for _, s := range settings {
		all[s.path] = s.words
	}
	return all
}()

// orderOf is the place of a path in that order; unknown paths come last.
func orderOf(path string) int {
	i := slices.IndexFunc(settings, func(s setting) bool { return s.path == path })
	if i < 0 {
		return len(settings)
	}
	return i
}
