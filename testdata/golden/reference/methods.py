"""PEFT 0.13's methods. Each holds its trained tensors under the keys of adapter_model.safetensors."""

import math
import re

import torch
import torch.nn.functional as F

from .llama import Adapter

PREFIX = "base_model.model."
LINEARS = {"q_proj": "self_attn", "k_proj": "self_attn", "v_proj": "self_attn", "o_proj": "self_attn",
           "gate_proj": "mlp", "up_proj": "mlp", "down_proj": "mlp"}


def linears(config):
    """Paths of the linear modules, without the head."""
    return [f"model.layers.{i}.{p}.{n}" for i in range(config["num_hidden_layers"]) for n, p in LINEARS.items()]


def chosen(path, entry):
    """Whether a list or a regular expression of target_modules names a path."""
    if isinstance(entry, str):
        return re.fullmatch(entry, path) is not None
    return any(path == e or path.endswith("." + e) for e in entry)


def score_key(config):
    """The head's key: prompt learning does not wrap the base model in one more module."""
    return ("base_model." if config["peft_type"] in ("PREFIX_TUNING", "PROMPT_TUNING") else PREFIX) + "score.weight"


class Method(Adapter):
    """tensors are trained; those in whole stand for a base tensor of that name."""

    def __init__(self, config, model, tensors, dtype):
        self.config, self.model = config, model
        self.tensors = {n: torch.tensor(x, dtype=dtype) for n, x in tensors.items() if ".base_layer.weight" not in n}
        self.whole = {}
        for entry in config.get("modules_to_save") or []:
            for name in list(model.params) + ["lm_head.weight"]:
                if name.rsplit(".", 1)[0].endswith(entry):
                    key = PREFIX + name
                    if key not in self.tensors:
                        self.tensors[key] = model.get(name).clone()
                    self.whole[name] = key
        bias = config.get("bias") or "none"
        for name in [n for n in model.params if n.endswith(".bias") and bias != "none"]:
            path = PREFIX + name[:-5]
            adapted = path + ".lora_A.weight" in self.tensors
            if bias == "all" or adapted:
                self.whole[name] = path + (".base_layer.bias" if adapted else ".bias")
                self.tensors.setdefault(self.whole[name], model.get(name).clone())
        self.score = None
        if config.get("task_type") == "SEQ_CLS":
            self.score = score_key(config)

    def weight(self, name, w):
        key = self.whole.get(name)
        return w if key is None else self.tensors[key]

    def classify(self, model, x):
        return F.linear(x, self.tensors[self.score])


class LoRA(Method):
    """y = W x + s B A x, and DoRA: y = g (W x + s B A x), g = m / norm(W + s B A) with the norm held constant."""

    def rank(self, path):
        c = self.config
        keys = list(c.get("rank_pattern") or {}) + list(c.get("alpha_pattern") or {})
        key = next((k for k in keys if re.match(rf".*\.{k}$", path)), path)
        r = (c.get("rank_pattern") or {}).get(key, c.get("r", 8))
        alpha = (c.get("alpha_pattern") or {}).get(key, c.get("lora_alpha", 8))
        return r, alpha / (math.sqrt(r) if c.get("use_rslora") else r)

    def linear(self, name, x, w, b):
        A, B = (self.tensors.get(f"{PREFIX}{name}.lora_{m}.weight") for m in "AB")
        if A is None:
            return F.linear(x, w, b)
        r, s = self.rank(name)
        assert A.shape[0] == r, (name, A.shape, r)
        low = s * F.linear(F.linear(x, A), B, self.tensors.get(f"{PREFIX}{name}.lora_B.bias"))
        m = self.tensors.get(f"{PREFIX}{name}.lora_magnitude_vector")
        if m is None:
            return F.linear(x, w, b) + low
        g = m / (w + s * B @ A).norm(dim=1).detach()
        y = g * (F.linear(x, w) + low)
        return y if b is None else y + b

    def embed(self, ids, w):
        x = F.embedding(ids, w)
        A = self.tensors.get(PREFIX + "model.embed_tokens.lora_embedding_A")
        if A is not None:
            B, (_, s) = self.tensors[PREFIX + "model.embed_tokens.lora_embedding_B"], self.rank("model.embed_tokens")
            x = x + s * F.embedding(ids, A.T) @ B.T
        return x


class IA3(Method):
    """Scales the outputs of modules, and the inputs of those in feedforward_modules."""

    def linear(self, name, x, w, b):
        l = self.tensors.get(f"{PREFIX}{name}.ia3_l")
        if l is None:
            return F.linear(x, w, b)
        if chosen(name, self.config.get("feedforward_modules") or ["down_proj"]):
            return F.linear(x * l.flatten(), w, b)
        return F.linear(x, w, b) * l.flatten()


class Prefix(Method):
    """Keys and values of T slots before every layer's own, unrotated; the text's positions begin at T."""

    def table(self):
        e = self.tensors
        if not self.config.get("prefix_projection"):
            return e["prompt_embeddings"]
        x = torch.tanh(F.linear(e["embedding.weight"], e["transform.0.weight"], e["transform.0.bias"]))
        return F.linear(x, e["transform.2.weight"], e["transform.2.bias"])

    def past(self, layer, rows):
        m, table = self.model, self.table()
        kv = table.view(len(table), 2 * m.L, m.nkv, m.hd).permute(1, 2, 0, 3)
        return tuple(kv[2 * layer + i].expand(rows, -1, -1, -1) for i in (0, 1))


class Prompt(Method):
    """T embeddings before the text's; positions count over both, and the last slot predicts the first token."""

    def prompt(self, rows):
        return self.tensors["prompt_embeddings"].expand(rows, -1, -1)


class AdaptionPrompt(Method):
    """LLaMA-Adapter: K slots with a softmax of their own and a gate, through the layer's frozen projections."""

    def attention(self, model, layer, q, out):
        at = f"model.layers.{layer}.self_attn"
        P = self.tensors.get(f"{PREFIX}{at}.adaption_prompt")
        if P is None:
            return out
        k, v = (model.group(model.heads(model.linear(f"{at}.{n}_proj", P), model.nkv)) for n in "kv")
        weights = (q @ k.transpose(2, 3) / math.sqrt(model.hd)).softmax(-1)
        gate = self.tensors[f"{PREFIX}{at}.adaption_gate"]
        return out + model.linear(at + ".o_proj", model.join(gate * (weights @ v)))


METHODS = {"LORA": LoRA, "IA3": IA3, "PREFIX_TUNING": Prefix, "PROMPT_TUNING": Prompt, "ADAPTION_PROMPT": AdaptionPrompt}


def initial(peft, config, random):
    """Tensors to start an adapter from, none of them zero where PEFT's would be, so that every gradient is at work."""
    H, L, nh, nkv = (config[k] for k in ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"))
    V, hd, I = config["vocab_size"], config.get("head_dim") or H // nh, config["intermediate_size"]
    shape = {"q_proj": (nh * hd, H), "k_proj": (nkv * hd, H), "v_proj": (nkv * hd, H), "o_proj": (H, nh * hd),
             "gate_proj": (I, H), "up_proj": (I, H), "down_proj": (H, I), "lm_head": (V, H)}
    normal = lambda scale, *size: (scale * random.standard_normal(size)).astype("f4")
    kind, out = peft["peft_type"], {}
    paths = linears(config) + ["lm_head"]
    targets = peft.get("target_modules") or {"LORA": ["q_proj", "v_proj"], "IA3": ["k_proj", "v_proj", "down_proj"]}.get(kind)
    if kind in ("LORA", "IA3"):
        saved = peft.get("modules_to_save") or []
        paths = [p for p in paths if (p != "lm_head" if targets == "all-linear" else chosen(p, targets))]
        if (layers := peft.get("layers_to_transform")) is not None:
            layers = [layers] if isinstance(layers, int) else layers
            paths = [p for p in paths if p != "lm_head" and int(p.split(".")[2]) in layers]
        paths = [p for p in paths if not any(p.endswith(s) for s in saved)]
        if out_of := peft.get("exclude_modules"):
            paths = [p for p in paths if not chosen(p, out_of)]
    if kind == "LORA":
        probe = LoRA.__new__(LoRA)
        probe.config = peft
        for p in paths:
            o, i = shape[p.rsplit(".", 1)[-1]]
            r, _ = probe.rank(p)
            out[f"{PREFIX}{p}.lora_A.weight"] = normal(1 / math.sqrt(i), r, i)
            out[f"{PREFIX}{p}.lora_B.weight"] = normal(0.05, o, r)
            if peft.get("lora_bias"):
                out[f"{PREFIX}{p}.lora_B.bias"] = normal(0.1, o)
            if peft.get("use_dora"):
                out[f"{PREFIX}{p}.lora_magnitude_vector"] = None  # of W + s B A: filled in by whoever has W
        if isinstance(targets, list) and "embed_tokens" in targets:
            r, _ = probe.rank("model.embed_tokens")
            out[PREFIX + "model.embed_tokens.lora_embedding_A"] = normal(0.05, r, V)
            out[PREFIX + "model.embed_tokens.lora_embedding_B"] = normal(1, H, r)
    elif kind == "IA3":
        ff = peft.get("feedforward_modules") or ["down_proj"]
        for p in paths:
            o, i = shape[p.rsplit(".", 1)[-1]]
            out[f"{PREFIX}{p}.ia3_l"] = 1 + (normal(0.1, 1, i) if chosen(p, ff) else normal(0.1, o, 1))
    elif kind == "PREFIX_TUNING":
        T, D = peft["num_virtual_tokens"], nkv * hd
        if peft.get("prefix_projection"):
            E = peft.get("encoder_hidden_size") or D
            out.update({"embedding.weight": normal(1, T, D), "transform.0.weight": normal(1 / math.sqrt(D), E, D), "transform.0.bias": normal(0.1, E),
                        "transform.2.weight": normal(1 / math.sqrt(E), 2 * L * D, E), "transform.2.bias": normal(0.1, 2 * L * D)})
        else:
            out["prompt_embeddings"] = normal(1, T, 2 * L * D)
    elif kind == "PROMPT_TUNING":
        out["prompt_embeddings"] = normal(0.5, peft["num_virtual_tokens"], H)
    elif kind == "ADAPTION_PROMPT":
        for i in range(L - peft["adapter_layers"], L):
            at = f"{PREFIX}model.layers.{i}.self_attn."
            out[at + "adaption_prompt"] = normal(1, 1, peft["adapter_len"], H)
            out[at + "adaption_gate"] = normal(0.2, 1)
    if peft.get("task_type") == "SEQ_CLS":
        out[score_key(peft)] = normal(1 / math.sqrt(H), peft["_labels"], H)
    return out


def saved_config(peft, config, base):
    """adapter_config.json as PEFT 0.13 saves it."""
    H, L, nh, nkv = (config[k] for k in ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"))
    c = {"auto_mapping": None, "base_model_name_or_path": base, "inference_mode": True, "revision": None, "task_type": "CAUSAL_LM"}
    kind = peft["peft_type"]
    if kind == "LORA":
        c.update(alpha_pattern={}, bias="none", fan_in_fan_out=False, init_lora_weights=True, layer_replication=None, layers_pattern=None,
                 layers_to_transform=None, loftq_config={}, lora_alpha=8, lora_dropout=0.0, megatron_config=None, megatron_core="megatron.core",
                 modules_to_save=None, r=8, rank_pattern={}, target_modules=["q_proj", "v_proj"], use_dora=False, use_rslora=False)
    elif kind == "IA3":
        c.update(fan_in_fan_out=False, feedforward_modules=["down_proj"], init_ia3_weights=True, modules_to_save=None,
                 target_modules=["k_proj", "v_proj", "down_proj"])
    elif kind == "ADAPTION_PROMPT":
        c.update(adapter_layers=None, adapter_len=None, target_modules="self_attn")
    else:
        c.update(num_attention_heads=nh, num_layers=L, num_transformer_submodules=1, num_virtual_tokens=None, token_dim=H)
        if kind == "PREFIX_TUNING":
            D = H // nh * nkv
            c.update(encoder_hidden_size=D, num_attention_heads=nkv, prefix_projection=False, token_dim=D)
        else:
            c.update(prompt_tuning_init="RANDOM", prompt_tuning_init_text=None, tokenizer_kwargs=None, tokenizer_name_or_path=None)
    c.update({k: v for k, v in peft.items() if not k.startswith("_")})
    if c["task_type"] is None:
        c["auto_mapping"] = {"base_model_class": "LlamaForCausalLM", "parent_library": "transformers.models.llama.modeling_llama"}
    if c.get("target_modules") == "all-linear":
        c["target_modules"] = list(LINEARS)
    if c["task_type"] == "SEQ_CLS" and kind in ("LORA", "IA3"):
        c["modules_to_save"] = (peft.get("modules_to_save") or []) + ["classifier", "score"]
    return c
