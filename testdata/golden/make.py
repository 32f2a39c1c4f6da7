#!/usr/bin/python3
"""Makes the goldens of this folder: what torch computes for the runs of reference/scenarios.py.

    make.py [--shared FOLDER] [NAME…]     makes all scenarios, or those named

tiny/ stands for itself. stories/ takes its model from the shared folder and is left as it is where that is absent.
Needs numpy and torch.
"""

import argparse
import json
import os
import shutil

import numpy as np
import torch

from reference import conversations, methods, run, safetensors, scenarios, tokenizer
from reference.validate import validate

HERE = os.path.dirname(os.path.abspath(__file__))

# Nothing divides anything else, and heads share keys: what could be mixed up differs.
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "attention_bias": False, "bos_token_id": 1, "eos_token_id": 2, "head_dim": 6, "hidden_act": "silu",
    "hidden_size": 24, "intermediate_size": 28, "max_position_embeddings": 64, "mlp_bias": False, "model_type": "llama",
    "num_attention_heads": 4, "num_hidden_layers": 3, "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "rope_scaling": None,
    "rope_theta": 10000.0, "tie_word_embeddings": True, "torch_dtype": "float32", "vocab_size": 99,
}
CONVERSATION = [{"role": "user", "content": "who eats?"}, {"role": "assistant", "content": "<think>who</think>the fox."}, {"role": "user", "content": "who sings?"}]
LABELS = ["animal", "person", "weather"]


def write(path, value):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        if isinstance(value, list):
            f.writelines(json.dumps(r) + "\n" for r in value)
        else:
            f.write(json.dumps(value, indent=2) + "\n")


def tiny_model(folder):
    """A random model whose tokens are the printable characters, and the same with a head for classes, and with biases."""
    random = np.random.RandomState(1)
    H, V, I, hd = CONFIG["hidden_size"], CONFIG["vocab_size"], CONFIG["intermediate_size"], CONFIG["head_dim"]
    q, kv = CONFIG["num_attention_heads"] * hd, CONFIG["num_key_value_heads"] * hd
    shapes = {"model.embed_tokens.weight": (V, H), "model.norm.weight": (H,)}
    for i in range(CONFIG["num_hidden_layers"]):
        for name, shape in {"self_attn.q_proj": (q, H), "self_attn.k_proj": (kv, H), "self_attn.v_proj": (kv, H), "self_attn.o_proj": (H, q),
                            "mlp.gate_proj": (I, H), "mlp.up_proj": (I, H), "mlp.down_proj": (H, I),
                            "input_layernorm": (H,), "post_attention_layernorm": (H,)}.items():
            shapes[f"model.layers.{i}.{name}.weight"] = shape
    tensors = {n: 0.25 * random.standard_normal(s) + (1 if len(s) == 1 else 0) for n, s in shapes.items()}
    specials = ["<unk>", "<s>", "</s>", "<pad>"]
    characters = [chr(c) if c != 32 else "Ġ" for c in range(32, 127)]
    special = lambda i, s: {"id": i, "content": s, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    words = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [special(i, s) for i, s in enumerate(specials)], "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": {"type": "TemplateProcessing",
                           "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                           "pair": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                           "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {s: i for i, s in enumerate(specials + characters)}, "merges": []},
    }
    classes = {**CONFIG, "architectures": ["LlamaForSequenceClassification"], "pad_token_id": 3, "tie_word_embeddings": False,
               "id2label": {str(i): l for i, l in enumerate(LABELS)}, "label2id": {l: i for i, l in enumerate(LABELS)}}
    score = {"score.weight": random.standard_normal((len(LABELS), H)) / H ** 0.5}
    biased = {**CONFIG, "attention_bias": True, "mlp_bias": True}
    biases = {n[:-6] + "bias": 0.25 * random.standard_normal(s[0]) for n, s in shapes.items() if "_proj" in n}
    qwen2 = {**CONFIG, "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}
    qwen2_biases = {n: b for n, b in biases.items() if n.split(".")[-2] in ("q_proj", "k_proj", "v_proj")}
    qwen3 = {**CONFIG, "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"}
    norms = {f"model.layers.{i}.self_attn.{n}_norm.weight": 1 + 0.25 * random.standard_normal(hd) for i in range(CONFIG["num_hidden_layers"]) for n in "qk"}
    mistral = {**CONFIG, "architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 32}
    windows = {
        "mistral_window": ({**mistral, "sliding_window": 5}, {}),
        "qwen2_window": ({**qwen2, "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}, qwen2_biases),
        "qwen3_window": ({**qwen3, "use_sliding_window": True, "sliding_window": 6,
                          "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}, norms),
    }
    smollm3 = {**CONFIG, "architectures": ["SmolLM3ForCausalLM"], "model_type": "smollm3", "no_rope_layer_interval": 2}
    unrotated = {
        "smollm3": (smollm3, {}),
        "smollm3_window": ({**smollm3, "no_rope_layers": [0, 1, 0], "use_sliding_window": True, "sliding_window": 7}, {}),
    }
    rope = {name: {**CONFIG, "rope_theta": 500.0, "rope_scaling": {"rope_type": name, **keys}} for name, keys in {
        "linear": {"factor": 4.0}, "dynamic": {"factor": 4.0},
        "llama3": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32},
        "yarn": {"factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 4.0, "beta_slow": 0.5},
        "longrope": {"original_max_position_embeddings": 32, "short_factor": [1.0, 1.5, 3.0], "long_factor": [2.0, 4.0, 8.0]}}.items()}
    for name, config, extra in ("model", CONFIG, {}), ("classifier", classes, score), ("biased", biased, biases), (
            "qwen2", qwen2, qwen2_biases), ("qwen3", qwen3, norms), ("mistral", mistral, {}), *((k, c, {}) for k, c in rope.items()), *((k, c, x) for k, (c, x) in {**windows, **unrotated}.items()):
        write(f"{folder}/{name}/config.json", config)
        write(f"{folder}/{name}/tokenizer.json", words)
        safetensors.save(f"{folder}/{name}/model.safetensors", {**tensors, **extra})


def chat_model(folder):
    """A random model of conversations: its tokens are the printable characters, the end of a line, and what templates put around turns."""
    random = np.random.RandomState(6)
    with open(f"{folder}/model/tokenizer.json") as f:
        words = json.load(f)
    vocab = words["model"]["vocab"]
    words["added_tokens"] += [{**words["added_tokens"][0], "id": len(vocab) + 1 + i, "content": t} for i, t in enumerate(conversations.TOKENS)]
    vocab["Ċ"] = len(vocab)
    config = {**CONFIG, "max_position_embeddings": 256, "vocab_size": len(vocab) + len(conversations.TOKENS)}
    tensors = safetensors.load(f"{folder}/model/model.safetensors")
    tensors = {n: np.array(x) for n, x in tensors.items()}
    more = config["vocab_size"] - CONFIG["vocab_size"]
    tensors["model.embed_tokens.weight"] = np.concatenate((tensors["model.embed_tokens.weight"], 0.25 * random.standard_normal((more, CONFIG["hidden_size"]))))
    write(f"{folder}/chat/config.json", config)
    write(f"{folder}/chat/tokenizer.json", words)
    write(f"{folder}/chat/tokenizer_config.json", {"bos_token": "<s>", "eos_token": "</s>", "chat_template": conversations.MODEL_TEMPLATE})
    safetensors.save(f"{folder}/chat/model.safetensors", tensors)


def sentence(random):
    """A short sentence and what it is about."""
    kind = random.randint(3)
    who = [["cat", "old dog", "fox", "small mouse"], ["girl", "tall man", "king", "young cook"], ["rain", "north wind", "snow", "warm sun"]][kind]
    does = [["sleeps", "runs off", "eats"], ["sings", "reads a book", "laughs"], ["falls", "goes by", "is back"]][kind]
    return f"the {who[random.randint(4)]} {does[random.randint(3)]}.", kind


def mask(rows, random, longest):
    """Cuts rows to many lengths and takes labels out: a prompt before each, here and there a gap, and one row whole."""
    out = []
    for n, ids in enumerate(rows):
        ids = ids[:random.randint(3, longest + 1)]
        labels = [-100 if i < len(ids) // 3 or random.rand() < 0.1 else t for i, t in enumerate(ids)]
        if n % 7 == 2:
            labels = list(ids)
        if n == 5:
            labels = [-100] * len(ids)
        out.append({"input_ids": ids, "labels": labels})
    return out


def data(folder, rows, texts, longest, random):
    """The datasets, from 80 rows of ids and as many texts of classes."""
    write(f"{folder}/data/plain.jsonl", [{"input_ids": r} for r in rows])
    write(f"{folder}/data/masked.jsonl", mask(rows, random, longest))
    write(f"{folder}/data/few.jsonl", mask(rows[40:47], random, longest))
    short = [r[:n] for r, n in zip(rows, (1, 2, 1, longest, 3))]
    write(f"{folder}/data/odd.jsonl", [{"input_ids": r} for r in short + [(rows[1] + rows[2] + rows[3])[:59], short[3], short[0]]])
    write(f"{folder}/data/classes.jsonl", [{"text": t, "label": k} for t, k in texts])
    write(f"{folder}/data/probe.jsonl", [{"input_ids": rows[70][:9]}, {"input_ids": rows[71][:5]}])
    write(f"{folder}/data/probe_classes.jsonl", [{"text": t, "label": k} for t, k in texts[::11][:5]])


def conversation(random):
    """A system prompt or none, and up to three questions with answers: some with thoughts, spaces around them or more lines."""
    pick = lambda *texts: texts[random.randint(len(texts))]
    messages = [{"role": "system", "content": pick("Be kind", " a\nb ")}] if random.rand() < 0.5 else []
    for _ in range(pick(1, 1, 2, 2, 3)):
        messages.append({"role": "user", "content": pick("who?", " why?", "and\nif?", "How so?")})
        messages.append({"role": "assistant", "content": pick("", "", "<think>\nhm\n</think>\n\n", "<think></think>") + pick("a fox.", " it is ", "yes\nno", "Some.")})
    if random.rand() < 0.2:
        messages.append({"role": "user", "content": "go on"})
    return messages


def chat_data(folder):
    """The same conversations as OpenAI's messages and as ShareGPT's turns."""
    random = np.random.RandomState(8)
    talks = [conversation(random) for _ in range(20)]
    write(f"{folder}/data/messages.jsonl", [{"messages": t} for t in talks])
    names, rows = {"user": "human", "assistant": "gpt"}, []
    for t in talks:
        system = {"system": t[0]["content"]} if t[0]["role"] == "system" else {}
        rows.append({**system, "conversations": [{"from": names[m["role"]], "value": m["content"]} for m in t if m["role"] != "system"]})
    write(f"{folder}/data/sharegpt.jsonl", rows)


def tiny_data(folder):
    random, encode = np.random.RandomState(2), tokenizer.Tokenizer(f"{folder}/model/tokenizer.json").encode
    rows = [encode(" ".join(sentence(random)[0] for _ in range(3)))[:20] for _ in range(80)]
    data(folder, rows, [sentence(random) for _ in range(80)], 20, random)


def stories_data(folder, model, words):
    """Rows that the model itself tells."""
    torch.manual_seed(3)
    random, n = np.random.RandomState(3), 40
    ids = torch.ones(80, 1, dtype=torch.int64)
    while ids.shape[1] < n:
        with torch.no_grad():
            logits = model.logits(ids, torch.full((80,), ids.shape[1]))[0][:, -1]
            logits[:, :3] = -1e9
        ids = torch.cat((ids, torch.multinomial(logits.softmax(-1), 1)), 1)
    rows = ids.tolist()
    texts = [(words.decode([t for t in r[1:random.randint(8, n)] if t >= 259]), random.randint(3)) for r in rows]
    data(folder, rows, texts, n, random)


def scenario(group, name, spec, base, model, rate):
    """Writes run.json and the adapter to start from."""
    folder = f"{HERE}/{group}/{name}"
    shutil.rmtree(folder, ignore_errors=True)
    peft = spec["peft"]
    c = {
        "model": os.path.relpath(f"{base}/{spec['model']}" if group == "tiny" else base, folder),
        "dataset": {"path": f"../data/{spec['data']}.jsonl", "shuffle": False},
        "training": {"learning_rate": rate, "lr_scheduler_type": "constant", "weight_decay": 0.01, "per_device_train_batch_size": 4,
                     "max_steps": 20, **spec["training"]},
    }
    if spec["data"] != "classes":
        c["dataset"]["format"] = "tokens"
    else:
        c["dataset"]["format"] = "classification"
    c["dataset"] |= spec["dataset"]
    if spec["packed"]:
        c["dataset"] |= {"packing": True, "max_length": spec["packed"]}
    for key in ("trainable", "unfreeze"):
        if spec[key]:
            c[key] = spec[key]
    if peft:
        c["peft"] = {k: v for k, v in peft.items() if not k.startswith("_")}
        c["init_adapter"] = "init"
        tensors = methods.initial(peft if not any(isinstance(e, dict) for e in spec["trainable"]) else {**peft, "task_type": None}, model.config, np.random.RandomState(len(name)))
        for n in [n for n in tensors if n.endswith("lora_magnitude_vector")]:
            path = n[:-len(".lora_magnitude_vector")]
            w = model.get(path[len(methods.PREFIX):] + ".weight").numpy()
            probe = methods.LoRA.__new__(methods.LoRA)
            probe.config = peft
            s = probe.rank(path[len(methods.PREFIX):])[1]
            norms = np.linalg.norm(w + s * tensors[path + ".lora_B.weight"] @ tensors[path + ".lora_A.weight"], axis=1)
            # As far from where DoRA starts as training leads.
            tensors[n] = norms * (1 + 0.1 * np.random.RandomState(7).standard_normal(len(norms)))
        write(f"{folder}/init/adapter_config.json", dict(sorted(methods.saved_config(peft, model.config, os.path.basename(base)).items())))
        if peft.get("prefix_projection"):
            safetensors.save(f"{folder}/init/prefix_encoder.safetensors", tensors)
            encoder = methods.Prefix.__new__(methods.Prefix)
            encoder.config, encoder.model, encoder.tensors = peft, model, {k: torch.tensor(v) for k, v in tensors.items()}
            tensors = {"prompt_embeddings": encoder.table().numpy()}
        for entry in peft.get("modules_to_save") or []:
            w = {"lm_head": "lm_head", "embed_tokens": "model.embed_tokens"}[entry] + ".weight"
            tensors[methods.PREFIX + w] = model.get(w).numpy()
        # PEFT saves the base's embeddings with an adapter that targets one.
        for path in "model.embed_tokens", "lm_head":
            if path.split(".")[-1] in (peft.get("target_modules") or []):
                tensors[f"{methods.PREFIX}{path}.base_layer.weight"] = model.get(path + ".weight").numpy()
        if peft.get("bias") == "all":  # of lora_only, PEFT 0.13 saves none
            adapted = lambda n: f"{methods.PREFIX}{n[:-5]}.lora_A.weight" in tensors
            tensors |= {methods.PREFIX + n[:-5] + (".base_layer.bias" if adapted(n) else ".bias"): x.numpy()
                        for n, x in model.params.items() if n.endswith(".bias")}
        safetensors.save(f"{folder}/init/adapter_model.safetensors", tensors)
    for e in [e for e in spec["trainable"] if isinstance(e, dict)]:
        random, H, tensors = np.random.RandomState(len(name)), model.H, {}
        widths = [H, *e["sizes"], e.get("num_labels", H)]
        for k, (i, o) in enumerate(zip(widths, widths[1:])):
            tensors[f"head.{k}.weight"] = random.standard_normal((o, i)) / i ** 0.5
            tensors[f"head.{k}.bias"] = 0.1 * random.standard_normal(o)
        os.makedirs(folder, exist_ok=True)
        safetensors.save(f"{folder}/head.safetensors", tensors, {
            "kind": "fc", "at": e["at"], "sizes": json.dumps(e["sizes"]), "activation": e["activation"], "num_labels": str(e.get("num_labels", 0))})
    write(f"{folder}/run.json", c)
    return folder


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--shared", default=os.path.join(HERE, "../../../shared"))
    p.add_argument("names", nargs="*")
    args = p.parse_args()
    stories = os.path.join(args.shared, "models/stories260k")
    groups = [("tiny", scenarios.TINY, f"{HERE}/tiny", f"{HERE}/tiny/model")]
    if os.path.exists(stories):
        validate(args.shared)
        groups.append(("stories", scenarios.STORIES, stories, stories))
    for group, specs, base, folder in groups:
        if group == "tiny":
            tiny_model(base)
            tiny_data(base)
            chat_model(base)
            chat_data(base)
        words = tokenizer.Tokenizer(f"{folder}/tokenizer.json")
        model = run.load_model(folder, torch.float32)
        if group == "stories":
            stories_data(f"{HERE}/stories", model, words)
        for name, spec in specs.items():
            if not args.names or name in args.names:
                model = run.load_model(f"{base}/{spec['model']}" if group == "tiny" else folder, torch.float32)
                where = scenario(group, name, spec, base, model, (2e-3 if not spec["peft"] else 5e-3) if group == "tiny" else 1e-3)
                probe = f"{HERE}/{group}/data/probe{'_classes' if spec['data'] == 'classes' else ''}.jsonl"
                run.golden(where, probe, "the old" if group == "tiny" else "Once upon a time", words.encode, 
                           finals=group == "tiny" and name not in scenarios.LEAN, messages=CONVERSATION)


if __name__ == "__main__":
    main()
