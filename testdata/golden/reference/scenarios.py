"""The runs that are held against the reference: what they train on, and what their run.json says."""

LORA = {"peft_type": "LORA", "r": 4, "lora_alpha": 8}
QV = {**LORA, "target_modules": ["q_proj", "v_proj"]}
ALL = {**LORA, "r": 2, "target_modules": "all-linear"}
PREFIX = {"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 5}
PROJECTED = {**PREFIX, "prefix_projection": True, "encoder_hidden_size": 10}
PROMPT = {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 3}
IA3 = {"peft_type": "IA3"}
CLASSES = {"task_type": "SEQ_CLS", "_labels": 3}


def run(data="plain", model="model", peft=None, trainable=(), unfreeze=(), packed=0, dataset={}, **training):
    """packed is the length of packed rows, 0 for rows of one sample; dataset are further settings of run.json's dataset."""
    return {"model": model, "data": data, "peft": peft, "trainable": list(trainable), "unfreeze": list(unfreeze), "packed": packed, "dataset": dataset, "training": training}


def adapter(layers, length=4):
    return {"peft_type": "ADAPTION_PROMPT", "adapter_len": length, "adapter_layers": layers}


def fc(at, sizes, activation, **more):
    return {"add": "fc", "at": at, "sizes": sizes, "activation": activation, "init": "head.safetensors", **more}


def stages(*lists):
    return [{"step": step, "trainable": list(names)} for step, names in lists]


TINY = {
    # base weights
    "full": run(trainable=["all"]),
    "full_masked": run("masked", trainable=["all"]),
    "lm_head": run(trainable=["lm_head"]),
    "lm_head_and_all": run("masked", trainable=["all", "lm_head"]),
    "embed_tokens": run(trainable=["embed_tokens"]),
    "layers_last": run("masked", trainable=["layers:last:1"]),
    "layers_first_norm": run(trainable=["layers:first:1", "norm"]),
    "layers_listed": run(trainable=["layers:0,2"]),
    "regex": run("masked", trainable=[r"regex:.*\.(down_proj|input_layernorm)\.weight"]),
    # LoRA
    "lora_qv": run(peft=QV),
    "lora_qv_masked": run("masked", peft=QV),
    "lora_default": run("masked", peft=LORA),
    "lora_no_task": run("masked", peft={**QV, "task_type": None}),
    "lora_all": run("masked", peft=ALL),
    "lora_rslora": run(peft={**QV, "use_rslora": True}),
    "lora_patterns": run("masked", peft={**LORA, "target_modules": ["q_proj", "o_proj", "up_proj"], "rank_pattern": {"q_proj": 2, "layers.1.mlp.up_proj": 3},
                                         "alpha_pattern": {"q_proj": 16, "layers.1.mlp.up_proj": 5}}),
    "lora_some_layers": run(peft={**LORA, "target_modules": ["k_proj", "gate_proj"], "layers_to_transform": [0, 2]}),
    "lora_regex": run(peft={**LORA, "target_modules": r".*\.(0|1)\..*(q|down)_proj"}),
    "lora_saved_head": run("masked", peft={**QV, "modules_to_save": ["lm_head"]}),
    "lora_saved_embedding": run(peft={**QV, "modules_to_save": ["embed_tokens"]}),
    "lora_ends": run("masked", peft={**LORA, "target_modules": ["embed_tokens", "lm_head", "v_proj"]}),
    "dora": run(peft={**QV, "use_dora": True}),
    "dora_all_masked": run("masked", peft={**ALL, "use_dora": True}),
    "dora_patterns": run("masked", peft={**LORA, "use_dora": True, "use_rslora": True, "target_modules": ["k_proj", "down_proj"], "rank_pattern": {"layers.2.mlp.down_proj": 1},
                                         "modules_to_save": ["lm_head"]}),
    "lora_excluded": run("masked", peft={**ALL, "exclude_modules": ["o_proj", "layers.1.mlp.up_proj"]}),
    "lora_one_layer": run(peft={**ALL, "target_modules": ["v_proj", "up_proj"], "layers_to_transform": 1, "layers_pattern": "layers"}),
    "lora_odd": run("odd", peft=QV, per_device_train_batch_size=3),
    "lora_bias_all": run("masked", "biased", {**QV, "bias": "all"}),
    "lora_bias_lora_only": run(model="biased", peft={**ALL, "bias": "lora_only"}),
    "lora_bias_of_b": run("masked", peft={**QV, "lora_bias": True, "use_rslora": True}),
    "lora_bias_of_b_biased": run("masked", "biased", {**ALL, "lora_bias": True}),
    "dora_biased": run("masked", "biased", {**ALL, "use_dora": True}),
    "ia3_biased": run("masked", "biased", {**IA3, "target_modules": ["k_proj", "o_proj", "down_proj"]}),
    "adaption_prompt_biased": run("masked", "biased", adapter(2)),
    "full_biased": run("masked", "biased", trainable=["all"], no_decay=["bias"], weight_decay=0.2),
    # the other methods
    "prefix": run(peft=PREFIX),
    "prefix_masked": run("masked", peft=PREFIX),
    "prefix_projection": run(peft=PROJECTED),
    "prefix_projection_masked": run("masked", peft=PROJECTED),
    "adaption_prompt": run(peft=adapter(3)),
    "adaption_prompt_last": run("masked", peft=adapter(2, 5)),
    "ia3": run(peft=IA3),
    "ia3_masked": run("masked", peft=IA3),
    "ia3_feedforward": run("masked", peft={**IA3, "target_modules": ["up_proj", "down_proj", "q_proj"], "feedforward_modules": ["up_proj", "down_proj"]}),
    "prompt": run(peft=PROMPT),
    "prompt_masked": run("masked", peft=PROMPT),
    "ia3_saved": run(peft={**IA3, "modules_to_save": ["lm_head"]}),
    "prompt_odd": run("odd", peft=PROMPT, per_device_train_batch_size=3),
    "prefix_odd": run("odd", peft=PREFIX, per_device_train_batch_size=2),
    # classification
    "score": run("classes", "classifier", trainable=["score"]),
    "score_all": run("classes", "classifier", trainable=["all"]),
    "score_lora": run("classes", peft={**QV, **CLASSES}),
    "score_dora": run("classes", "classifier", peft={**QV, "use_dora": True, **CLASSES}),
    "score_ia3": run("classes", peft={**IA3, **CLASSES}),
    "score_prefix": run("classes", peft={**PREFIX, **CLASSES}),
    "score_prompt": run("classes", peft={**PROMPT, **CLASSES}),
    "score_adaption_prompt": run("classes", peft={**adapter(2), **CLASSES}),
    "fc_classify": run("classes", trainable=[fc("classify", [10], "silu", num_labels=3)]),
    "fc_classify_deep": run("classes", trainable=[fc("classify", [12, 7], "gelu", num_labels=3), "layers:last:1"]),
    "fc_classify_lora": run("classes", peft={**QV, "task_type": "SEQ_CLS"}, trainable=[fc("classify", [], "relu", num_labels=3)]),
    "fc_between": run("masked", trainable=[fc("between", [10], "silu")]),
    "fc_between_all": run(trainable=[fc("between", [9, 11], "tanh"), "all"]),
    "fc_between_lora": run("masked", peft=QV, trainable=[fc("between", [10], "relu"), "norm"]),
    # hybrids
    "hybrid_lora": run("masked", peft=QV, trainable=["layers:last:1", "norm"]),
    "hybrid_lora_head": run(peft=ALL, trainable=["lm_head"]),
    "hybrid_prefix": run("masked", peft=PREFIX, trainable=["layers:first:1"]),
    "hybrid_ia3_norm": run(peft=IA3, trainable=["norm"]),
    "hybrid_dora_embedding": run("masked", peft={**QV, "use_dora": True}, trainable=["embed_tokens"]),
    "hybrid_prompt_embedding": run("masked", peft=PROMPT, trainable=["embed_tokens"]),
    "hybrid_adaption_all": run("masked", peft=adapter(3), trainable=["all"]),
    "hybrid_regex": run(peft=IA3, trainable=[r"regex:q_proj\.weight"]),
    # progressive unfreezing
    "unfreeze": run("masked", unfreeze=stages((0, ["lm_head"]), (7, ["lm_head", "layers:last:1"]), (14, ["lm_head", "all"]))),
    "unfreeze_tied": run(unfreeze=stages((0, ["norm"]), (5, ["norm", "layers:last:2"]), (11, ["all"])), layer_lr_decay=0.5, lr_scheduler_type="cosine"),
    "unfreeze_lora": run(peft=QV, unfreeze=stages((0, ["norm"]), (9, ["layers:last:2", "norm"]))),
    "unfreeze_prefix": run("masked", peft=PREFIX, unfreeze=stages((0, ["norm"]), (6, ["norm", "lm_head"]), (12, ["norm", "lm_head", "layers:first:1"]))),
    # families of models, and rotary scalings
    **{f"{m}_{k}": run("masked", m, **how) for m in ("qwen2", "qwen3", "mistral") for k, how in {"full": {"trainable": ["all"]}, "lora": {"peft": ALL}}.items()},
    **{f"{m}_window_{k}": run("masked", m + "_window", **how) for m in ("mistral", "qwen2", "qwen3") for k, how in {"full": {"trainable": ["all"]}, "lora": {"peft": ALL}}.items()},
    "mistral_window_odd": run("odd", "mistral_window", QV, per_device_train_batch_size=3),
    "mistral_window_prefix": run("masked", "mistral_window", PREFIX),
    "mistral_window_prompt": run("masked", "mistral_window", PROMPT),
    "smollm3_full": run("masked", "smollm3", trainable=["all"]),
    "smollm3_lora": run("masked", "smollm3", ALL),
    "smollm3_window_lora": run("masked", "smollm3_window", ALL),
    **{f"rope_{k}": run("masked", k, peft=QV) for k in ("linear", "dynamic", "llama3", "yarn", "longrope")},
    # the optimizer and the loop
    "layer_lr_decay": run(trainable=["all"], layer_lr_decay=0.5),
    "layer_lr_decay_lora": run("masked", peft=ALL, layer_lr_decay=0.7),
    "accumulation": run("masked", peft=QV, per_device_train_batch_size=2, gradient_accumulation_steps=2),
    "accumulation_full": run("masked", trainable=["all"], per_device_train_batch_size=1, gradient_accumulation_steps=3),
    "no_decay": run(trainable=["all"], weight_decay=0.3, no_decay=["norm", r"layers\.1\..*_proj\.weight"]),
    "weight_decay": run(peft=QV, weight_decay=0.5),
    "no_clipping": run(trainable=["all"], max_grad_norm=0),
    "tight_clipping": run("masked", peft=ALL, max_grad_norm=0.05),
    "epochs": run("few", peft=QV, per_device_train_batch_size=2, gradient_accumulation_steps=2, num_train_epochs=5, max_steps=-1, lr_scheduler_type="linear"),
    "wrapping": run("few", peft=QV, per_device_train_batch_size=3),
    **{"schedule_" + k: run(peft=QV, lr_scheduler_type=k) for k in ("linear", "cosine", "polynomial")},
    **{f"schedule_{k}_warmup": run(peft=QV, lr_scheduler_type=k, warmup_steps=4)
       for k in ("constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial", "inverse_sqrt")},
    **{f"schedule_{k}_settings": run(peft=QV, lr_scheduler_type=k, warmup_steps=4, lr_scheduler_kwargs=settings) for k, settings in {
        "cosine": {"num_cycles": 1.25}, "cosine_with_restarts": {"num_cycles": 3}, "polynomial": {"power": 2.5, "lr_end": 1e-5},
        "inverse_sqrt": {"timescale": 7}, "cosine_with_min_lr": {"min_lr_rate": 0.2}, "cosine_warmup_with_min_lr": {"min_lr": 3e-4, "warmup_lr_rate": 0.1},
        "warmup_stable_decay": {"num_decay_steps": 9, "warmup_type": "1-sqrt", "decay_type": "linear", "min_lr_ratio": 0.1}}.items()},
    # packed rows
    "packed_lora": run("masked", peft=ALL, packed=48, per_device_train_batch_size=2),
    "packed_full": run("masked", trainable=["all"], packed=61, per_device_train_batch_size=2, gradient_accumulation_steps=2),
    "packed_prefix": run("masked", peft=PREFIX, packed=40, per_device_train_batch_size=3),
    "packed_window_lora": run("masked", "mistral_window", ALL, packed=48, per_device_train_batch_size=2),
    "packed_unrotated_lora": run("masked", "smollm3", ALL, packed=48, per_device_train_batch_size=2),
    # conversations: the model's own template, which rewrites answers, and built-in ones
    "chat_own_template": run("messages", "chat", ALL, per_device_train_batch_size=2, dataset={"format": "messages"}),
    "chat_chatml": run("messages", "chat", QV, per_device_train_batch_size=2, dataset={"format": "messages", "template": "chatml"}),
    "chat_llama3_packed": run("sharegpt", "chat", ALL, packed=96, per_device_train_batch_size=2, dataset={"format": "sharegpt", "template": "llama3"}),
    "label_smoothing": run("masked", trainable=["all"], label_smoothing_factor=0.1),
    "label_smoothing_lora": run("masked", peft=QV, label_smoothing_factor=0.3),
    "label_smoothing_score": run("classes", peft={**QV, **CLASSES}, label_smoothing_factor=0.2),
}

# Runs of which losses and norms say enough.
LEAN = [n for n in TINY if n.startswith(("schedule_", "packed_"))] + [
    "full", "embed_tokens", "layers_listed", "score_all", "no_clipping", "accumulation_full", "layer_lr_decay", "lora_qv", "lora_default", "accumulation", "fc_between_all", "full_biased", "lm_head_and_all",
    "weight_decay", "tight_clipping", "chat_chatml", "chat_llama3_packed"]

# The same on a real model, whose weights are not here.
STORIES = {name: TINY[name] for name in (
    "lora_qv_masked", "lora_all", "dora", "dora_all_masked", "prefix", "prefix_masked", "prefix_projection_masked",
    "adaption_prompt_last", "ia3", "ia3_masked", "ia3_feedforward", "prompt", "prompt_masked", "lm_head", "layers_last", "layers_first_norm",
    "full_masked", "hybrid_lora", "unfreeze", "unfreeze_tied", "layer_lr_decay", "accumulation", "no_decay", "schedule_cosine_warmup")}
STORIES |= {"adaption_prompt": run(peft=adapter(5, 10)), "score_lora": run("classes", peft={**QV, **CLASSES}), "score_prefix": run("classes", peft={**PREFIX, **CLASSES})}
