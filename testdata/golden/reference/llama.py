"""The Llama decoder as transformers 4.45 computes it with attn_implementation="eager"."""

import math

import torch
import torch.nn.functional as F


class Adapter:
    """The places where a fine-tuning method acts. This one does nothing."""

    def weight(self, name, w):
        """The tensor to use for a parameter of the base model."""
        return w

    def linear(self, name, x, w, b):
        """The output of the linear module of that path."""
        return F.linear(x, w, b)

    def embed(self, ids, w):
        return F.embedding(ids, w)

    def prompt(self, rows):
        """Embeddings (rows, T, H) to stand before the text's, or None."""

    def past(self, layer, rows):
        """Keys and values (rows, nkv, T, hd) to stand before a layer's own, or None."""

    def attention(self, model, layer, q, out):
        """The output (rows, S, H) of a layer's attention, after its output projection."""
        return out

    def classify(self, model, x):
        """Logits of classes from the trunk's output at one token (rows, H)."""
        return F.linear(x, model.get("score.weight"))


def frequencies(config, hd):
    """Rotary frequencies (hd/2), and what cosines and sines are multiplied by: modeling_rope_utils.py of transformers 5."""
    theta, rope = config["rope_theta"], config.get("rope_scaling") or {}
    # The frequencies are computed in float32 and kept so, as transformers does.
    inv = 1.0 / (theta ** (torch.arange(0, hd, 2, dtype=torch.int64).float() / hd))
    kind, factor = rope.get("rope_type", "default"), rope.get("factor", 1.0)
    old = rope.get("original_max_position_embeddings", config["max_position_embeddings"])
    if kind == "linear":
        return inv / factor, 1.0
    if kind == "llama3":
        turns = old * inv / (2 * math.pi)
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        m = ((turns - low) / (high - low)).clamp(0, 1)
        return (1 - m) * inv / factor + m * inv, 1.0
    if kind == "yarn":
        at = lambda turns: hd * math.log(old / (turns * 2 * math.pi)) / (2 * math.log(theta))
        low, high = max(math.floor(at(rope.get("beta_fast", 32))), 0), min(math.ceil(at(rope.get("beta_slow", 1))), hd - 1)
        ramp = ((torch.arange(hd // 2).float() - low) / max(high - low, 0.001)).clamp(0, 1)
        return inv / factor * ramp + inv * (1 - ramp), 0.1 * math.log(factor) + 1 if factor > 1 else 1.0
    if kind == "longrope":
        grown = config["max_position_embeddings"] / old
        return inv / torch.tensor(rope["short_factor"]), math.sqrt(1 + math.log(grown) / math.log(old)) if grown > 1 else 1.0
    return inv, 1.0


def layer_kinds(config):
    """For each layer, the length of its sliding window or None, and whether it rotates queries and keys.

    As the configuration classes of transformers 5 fill in layer_types and no_rope_layers.
    """
    L, family = config["num_hidden_layers"], config["model_type"]
    rotated = [True] * L
    if family == "smollm3":
        rotated = config.get("no_rope_layers") or [(i + 1) % config["no_rope_layer_interval"] != 0 for i in range(L)]
    window = config.get("sliding_window")
    if family == "llama" or family != "mistral" and not config.get("use_sliding_window"):
        window = None
    kinds = config.get("layer_types")
    if family == "mistral":
        slides = [True] * L
    elif kinds:
        slides = [k == "sliding_attention" for k in kinds]
    elif family == "smollm3":
        slides = [not r for r in rotated]
    else:
        slides = [i >= config.get("max_window_layers", 28) for i in range(L)]
    return [(window if s else None, bool(r)) for s, r in zip(slides, rotated)]


def rotate(x, positions, config):
    """Rotary embedding of x (rows, heads, S, hd): dimension j turns with j + hd/2. positions are (S) or (rows, 1, S)."""
    half = x.shape[-1] // 2
    inv, scale = frequencies(config, 2 * half)
    angle = positions[..., None].float() * inv
    cos, sin = (angle.cos() * scale).to(x.dtype), (angle.sin() * scale).to(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


def restarting(samples):
    """Positions (rows, S) that count from 0 in each sample."""
    return (samples[:, :, None] == samples[:, None, :]).tril().sum(-1) - 1


def smoothed(logits, want, smoothing):
    """The sum of -(1-e)·log p[want] - e·mean(log p) over the rows that want something."""
    if not smoothing:
        return F.cross_entropy(logits, want, ignore_index=-100, reduction="sum")
    rows = want != -100
    logp = logits[rows].log_softmax(-1)
    return -((1 - smoothing) * logp.gather(1, want[rows, None]).sum() + smoothing * logp.mean(-1).sum())


class Llama:
    """A decoder over a dictionary of its tensors under Hugging Face's names."""

    def __init__(self, config, tensors, dtype):
        self.config, self.dtype = config, dtype
        self.L, self.H = config["num_hidden_layers"], config["hidden_size"]
        self.nh, self.nkv = config["num_attention_heads"], config["num_key_value_heads"]
        self.hd = config.get("head_dim") or self.H // self.nh
        self.params = {n: torch.tensor(x, dtype=dtype) for n, x in tensors.items()}
        self.kinds = layer_kinds(config)
        self.adapter = Adapter()
        self.head = None  # run.json's description of added layers, whose tensors are head.{k}.weight and head.{k}.bias

    def stack(self, x):
        """The added layers, with an activation between each two."""
        act = {"silu": F.silu, "relu": F.relu, "gelu": F.gelu, "tanh": torch.tanh}[self.head["activation"]]
        for k in range(len(self.head["sizes"]) + 1):
            x = F.linear(act(x) if k else x, self.params[f"head.{k}.weight"], self.params[f"head.{k}.bias"])
        return x

    def untie(self):
        """Gives a tied model a language-model head of its own."""
        if "lm_head.weight" not in self.params:
            self.params["lm_head.weight"] = self.params["model.embed_tokens.weight"].clone()

    def get(self, name):
        w = self.params.get(name)
        if w is None and name == "lm_head.weight":
            w = self.params["model.embed_tokens.weight"]
        return self.adapter.weight(name, w)

    def linear(self, path, x):
        return self.adapter.linear(path, x, self.get(path + ".weight"), self.get(path + ".bias"))

    def norm(self, path, x):
        scale = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.config["rms_norm_eps"])
        return self.get(path + ".weight") * (x * scale)

    def heads(self, x, n):
        return x.view(x.shape[0], x.shape[1], n, self.hd).transpose(1, 2)

    def join(self, x):
        return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], self.nh * self.hd)

    def group(self, x):
        """Keys or values for every query head."""
        return x.repeat_interleave(self.nh // self.nkv, 1)

    def attention(self, i, x, lengths, samples=None):
        """The output (rows, S, H) of a layer's attention. samples (rows, S) numbers the samples of packed rows, None for rows of one."""
        at = f"model.layers.{i}.self_attn"
        rows, S = x.shape[:2]
        past = self.adapter.past(i, rows)
        T = 0 if past is None else past[0].shape[2]
        positions = torch.arange(T, T + S)
        q, k = self.heads(self.linear(at + ".q_proj", x), self.nh), self.heads(self.linear(at + ".k_proj", x), self.nkv)
        if at + ".q_norm.weight" in self.params:  # Qwen3
            q, k = self.norm(at + ".q_norm", q), self.norm(at + ".k_norm", k)
        window, rotated = self.kinds[i]
        if rotated:
            turns = positions if samples is None else T + restarting(samples)[:, None]
            q, k = rotate(q, turns, self.config), rotate(k, turns, self.config)
        v = self.heads(self.linear(at + ".v_proj", x), self.nkv)
        if past is not None:
            k, v = torch.cat((past[0], k), 2), torch.cat((past[1], v), 2)
        scores = q @ self.group(k).transpose(2, 3) / math.sqrt(self.hd)
        key = torch.arange(T + S)
        causal = key[None, :] <= positions[:, None]
        if window is not None:
            causal &= key[None, :] > positions[:, None] - window
        seen = causal[None] & (key[None, None, :] < T + lengths[:, None, None])
        if samples is not None:  # a prefix is seen by all
            seen &= F.pad(samples[:, None, :] == samples[:, :, None], (T, 0), value=True)
        scores = scores.masked_fill(~seen[:, None], torch.finfo(x.dtype).min)
        out = self.linear(at + ".o_proj", self.join(scores.softmax(-1) @ self.group(v)))
        return self.adapter.attention(self, i, q, out)

    def trunk(self, ids, lengths, samples=None):
        """The final norm's output (rows, T + S, H) and the length T of a prompt before the text."""
        x = self.adapter.embed(ids, self.get("model.embed_tokens.weight"))
        prompt, T = self.adapter.prompt(len(ids)), 0
        if prompt is not None:
            T = prompt.shape[1]
            x, lengths = torch.cat((prompt, x), 1), lengths + T
        for i in range(self.L):
            at = f"model.layers.{i}"
            x = x + self.attention(i, self.norm(at + ".input_layernorm", x), lengths, samples)
            y = self.norm(at + ".post_attention_layernorm", x)
            y = F.silu(self.linear(at + ".mlp.gate_proj", y)) * self.linear(at + ".mlp.up_proj", y)
            x = x + self.linear(at + ".mlp.down_proj", y)
        return self.norm("model.norm", x), T

    def logits(self, ids, lengths, samples=None):
        """Logits (rows, T + S, V), and T."""
        x, T = self.trunk(ids, lengths, samples)
        return self.linear("lm_head", x + self.stack(x) if self.head else x), T

    def loss(self, batch, smoothing=0.0):
        """The sum of the batch's losses and how many there are: one a token that has a label, or one a row."""
        if batch.classes is not None:
            return smoothed(self.classes(batch.ids, batch.lengths), batch.classes, smoothing), len(batch.classes)
        logits, T = self.logits(batch.ids, batch.lengths, batch.samples)
        labels = F.pad(batch.labels, (T, 0), value=-100)  # a prompt is not trained on; its last row predicts the first token
        want = labels[:, 1:].reshape(-1)
        return smoothed(logits[:, :-1].reshape(len(want), -1), want, smoothing), int((want != -100).sum())

    def classes(self, ids, lengths):
        """Logits of classes (rows, classes), from each row's last token."""
        x, T = self.trunk(ids, lengths)
        x = x[torch.arange(len(ids)), T + lengths - 1]
        return self.stack(x) if self.head else self.adapter.classify(self, x)
