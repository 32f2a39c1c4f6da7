package ui

// settingTexts are the texts of the choices of a setting. Those of methods, of parts that train, of formats and of
// examples come with the description of the settings.
var settingTexts = texts{
	"about.NONE": {"train the model itself, chosen below", "训练模型自身，在下方选择"},

	"fix.bf16":          {"Weights in bfloat16", "权重用 bfloat16"},
	"fix.checkpointing": {"Recompute activations", "重算激活值"},
	"fix.fewer_layers":  {"Fewer layers", "更少的层"},
	"fix.lora":          {"LoRA instead", "改用 LoRA"},
	"fix.max_length":    {"Shorter rows", "更短的行"},
	"fix.micro_batch":   {"Smaller batches, as many rows a step", "更小的批，每步行数不变"},
	"fix.smaller_model": {"A smaller model", "更小的模型"},
	"fix.together":      {"All of these together", "以上合用"},

	"group.dataset":   {"Data", "数据"},
	"group.model":     {"Model", "模型"},
	"group.peft":      {"Adapter", "适配器"},
	"group.precision": {"Number formats", "数值格式"},
	"group.training":  {"Training", "训练"},

	"method":         {"Method", "方法"},
	"method.NONE":    {"No adapter", "不用适配器"},
	"method.adapter": {"Adapter", "适配器"},

	"option.added.at.between":                                {"between trunk and head", "主干与输出头之间"},
	"option.added.at.classify":                               {"on top, for classes", "顶端，用于分类"},
	"option.added.at.none":                                   {"none", "无"},
	"option.dataset.on_bad_row.skip":                         {"leave out", "略过"},
	"option.dataset.on_bad_row.stop":                         {"stop", "停止"},
	"option.quantization.int8":                               {"int8", "int8"},
	"option.quantization.nf4":                                {"nf4", "nf4"},
	"option.quantization.null":                               {"none", "无"},
	"option.training.gradient_checkpointing.auto":            {"as memory needs", "按内存需要"},
	"option.training.gradient_checkpointing.false":           {"no", "否"},
	"option.training.gradient_checkpointing.true":            {"all blocks", "所有块"},
	"option.training.lr_scheduler_type.constant":             {"constant", "恒定"},
	"option.training.lr_scheduler_type.constant_with_warmup": {"constant after warm-up", "预热后恒定"},
	"option.training.lr_scheduler_type.cosine":               {"falling in a half cosine", "余弦下降"},
	"option.training.lr_scheduler_type.cosine_with_restarts": {"cosine with restarts", "余弦重启"},
	"option.training.lr_scheduler_type.inverse_sqrt":         {"inverse square root", "平方根倒数"},
	"option.training.lr_scheduler_type.linear":               {"falling in a line", "线性下降"},
	"option.training.lr_scheduler_type.polynomial":           {"falling as a polynomial", "多项式下降"},
	"option.training.on_nonfinite.rollback":                  {"go back", "回退"},
	"option.training.on_nonfinite.skip":                      {"leave the step out", "跳过这一步"},
	"option.training.on_nonfinite.stop":                      {"stop", "停止"},
	"option.training.on_spike.rollback":                      {"go back", "回退"},
	"option.training.on_spike.stop":                          {"stop", "停止"},
	"option.training.on_spike.warn":                          {"warn", "警告"},
	"option.unfreeze.way.head":                               {"from the head down", "从输出头向下"},
	"option.unfreeze.way.none":                               {"all at once", "一次全部"},
	"option.unfreeze.way.own":                                {"a schedule of your own", "自定义时间表"},

	"strategy.FULL_SHARD":    {"ZeRO-3: weights, gradients and optimizer are shared out, each block's weights are fetched when they are needed.", "ZeRO-3：权重、梯度和优化器都分片，用到某块时才取回它的权重。"},
	"strategy.HYBRID_SHARD":  {"Shards within a group of tabs, copies across groups.", "组内分片，组间复制。"},
	"strategy.NO_SHARD":      {"DDP: every tab holds all that trains. The least traffic between passes, the most memory.", "DDP：每个标签页持有全部可训练参数。传输最少，内存最多。"},
	"strategy.SHARD_GRAD_OP": {"ZeRO-2: gradients and optimizer are shared out, the weights stay whole during a step.", "ZeRO-2：梯度和优化器分片，一步之内权重保持完整。"},
}
