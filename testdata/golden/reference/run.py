"""Runs a run.json as the run contract says, in float32 and in float64, with torch's own AdamW."""

import json
import math
import os
import re

import numpy as np
import torch

from . import conversations, methods, optim, safetensors
from .llama import Llama

torch.set_num_threads(1)


class Batch:
    """Rows padded on the right. classes holds a class for every row, where that is what is learned."""

    def __init__(self, rows):
        lengths = [len(r["input_ids"]) for r in rows]
        fill = lambda key, pad: torch.tensor([(r.get(key) or r["input_ids"]) + [pad] * (max(lengths) - n) for r, n in zip(rows, lengths)])
        self.ids, self.labels, self.lengths = fill("input_ids", 0), fill("labels", -100), torch.tensor(lengths)
        self.classes = torch.tensor([r["label"] for r in rows]) if "label" in rows[0] else None
        # The number of each token's sample in its row, and of the padding one more; None for rows of one sample.
        self.samples = None
        if "samples" in rows[0]:
            self.samples = torch.tensor([r["samples"] + [r["samples"][-1] + 1] * (max(lengths) - n) for r, n in zip(rows, lengths)])


def read_rows(path, encode):
    """Rows of a JSONL file, texts encoded by encode."""
    with open(path) as f:
        rows = [json.loads(line) for line in f]
    return [r if "input_ids" in r else {"input_ids": encode(r["text"]), "label": r["label"]} for r in rows]


def pack(rows, length):
    """Rows of several samples: the longest sample first, each into the fullest row that has room for it (best fit decreasing).

    Samples of a row, and rows by their first samples, stand in the order of the file. Of each sample's labels the first is
    taken out, so that no sample predicts the next.
    """
    packed = []
    for n in sorted(range(len(rows)), key=lambda n: -len(rows[n]["input_ids"])):
        size = lambda row: sum(len(rows[m]["input_ids"]) for m in row)
        fitting = [row for row in packed if size(row) + len(rows[n]["input_ids"]) <= length]
        row = max(fitting, key=size, default=[])
        if fitting:
            packed.remove(row)  # of rows that are equally full, the one that has been so for longest comes first, as in TRL
        packed.append(row + [n])
    label = lambda r: [-100] + (r.get("labels") or r["input_ids"])[1:]
    return [{
        "input_ids": [t for n in row for t in rows[n]["input_ids"]], "labels": [t for n in row for t in label(rows[n])],
        "samples": [k for k, n in enumerate(row) for _ in rows[n]["input_ids"]],
    } for row in sorted(map(sorted, packed))]


def load_model(folder, dtype):
    with open(os.path.join(folder, "config.json")) as f:
        config = json.load(f)
    tensors = safetensors.load(os.path.join(folder, "model.safetensors"))
    return Llama(config, {n: np.array(x) for n, x in tensors.items()}, dtype)


def selected(entries, model):
    """Names of the base tensors that trainable's entries select."""
    L, names = model.L, set()
    for e in entries:
        if isinstance(e, dict):
            names |= {n for n in model.params if n.startswith("head.")}
        elif e == "all":
            names |= {n for n in model.params if not n.startswith("head.")}
        elif e in ("lm_head", "score"):
            names.add(e + ".weight")
        elif e in ("embed_tokens", "norm"):
            names.add(f"model.{e}.weight")
        elif e.startswith("regex:"):
            names |= {n for n in model.params if re.search(e[6:], n)}
        elif e.startswith("layers:"):
            which = e.split(":")[1:]
            n = int(which[1]) if len(which) > 1 else 0
            blocks = {"first": range(n), "last": range(L - n, L)}.get(which[0]) or [int(i) for i in which[0].split(",")]
            names |= {n for n in model.params if any(n.startswith(f"model.layers.{i}.") for i in blocks)}
        else:
            raise ValueError(e)
    return names


def depth(name, L):
    """How many blocks below the top a tensor is: what is above the blocks counts as the top, the embedding as below all."""
    if m := re.search(r"layers\.(\d+)\.", name):
        return L - 1 - int(m[1])
    return L if "embed_tokens" in name else 0


class Run:
    """One run in one precision."""

    def __init__(self, folder, dtype, encode=None):
        self.folder, self.dtype, self.encode = folder, dtype, encode
        with open(os.path.join(folder, "run.json")) as f:
            self.c = json.load(f)
        at = lambda path: os.path.normpath(os.path.join(folder, path))
        self.model = load_model(at(self.c["model"]), dtype)
        path = at(self.c["dataset"]["path"])
        if self.chats():
            self.words = conversations.Encoder(os.path.join(at(self.c["model"]), "tokenizer.json"))
            self.rows = self.samples = conversations.read_rows(path, self.c["dataset"], self.words)
        else:
            self.rows = read_rows(path, encode)
        if self.c["dataset"].get("packing"):
            self.rows = pack(self.rows, self.c["dataset"]["max_length"])
        t = self.t = {"learning_rate": 2e-4, "weight_decay": 0.01, "no_decay": [], "lr_scheduler_type": "linear", "warmup_steps": 0, "max_grad_norm": 1.0,
                      "layer_lr_decay": 1.0, "lr_scheduler_kwargs": {}, "label_smoothing_factor": 0.0, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1} | self.c["training"]
        self.stages = self.c.get("unfreeze") or [{"step": 0, "trainable": self.c.get("trainable", [])}]
        if any("lm_head" in s["trainable"] for s in self.stages):
            self.model.untie()
        for entry in self.stages[-1]["trainable"]:
            if isinstance(entry, dict):
                self.model.head = entry
                head = safetensors.load(at(entry["init"]))
                self.model.params |= {n: torch.tensor(np.array(x), dtype=dtype) for n, x in head.items()}
        self.tensors = dict(self.model.params)
        peft = self.c.get("peft")
        if peft:
            init = {}
            for name in ("prefix_encoder.safetensors", "adapter_model.safetensors"):
                if not init and os.path.exists(os.path.join(folder, "init", name)):
                    init = safetensors.load(os.path.join(folder, "init", name))
            self.model.adapter = methods.METHODS[peft["peft_type"]](peft, self.model, {n: np.array(x) for n, x in init.items()}, dtype)
            self.tensors |= self.model.adapter.tensors
        self.last = selected(self.stages[-1]["trainable"], self.model) | (set(self.model.adapter.tensors) if peft else set())
        self.initial = {n: x.clone() for n, x in self.tensors.items() if n in self.last}
        self.optimizer = torch.optim.AdamW([{
            "params": [self.tensors[n]], "scale": t["layer_lr_decay"] ** depth(n, self.model.L),
            "weight_decay": 0 if any(re.search(p, n) for p in t["no_decay"]) else t["weight_decay"],
        } for n in sorted(self.last)], lr=1, betas=(0.9, 0.999), eps=1e-8, foreach=False)
        self.window = t["per_device_train_batch_size"] * t["gradient_accumulation_steps"]
        self.per_epoch = math.ceil(len(self.rows) / self.window)
        self.total = t["max_steps"] if t["max_steps"] > 0 else math.ceil(t["num_train_epochs"] * self.per_epoch)
        self.done = 0

    def chats(self):
        """Whether the run trains on conversations."""
        return self.c["dataset"].get("format") in conversations.FORMATS

    def training(self):
        """Names of what trains now."""
        stage = [s for s in self.stages if s["step"] <= self.done][-1]
        adapter = self.model.adapter.tensors if self.c.get("peft") else {}
        return selected(stage["trainable"], self.model) | set(adapter)

    def micro_batches(self):
        """The rows of the next step, in file order: without a seam where steps are counted, else each epoch anew."""
        size, window = self.t["per_device_train_batch_size"], self.window
        if self.t["max_steps"] > 0:
            rows = [self.rows[(self.done * window + i) % len(self.rows)] for i in range(window)]
        else:
            at = self.done % self.per_epoch * window
            rows = self.rows[at:at + window]
        return [Batch(rows[i:i + size]) for i in range(0, len(rows), size)]

    def backward(self, batches):
        """Leaves the gradients of the mean loss of all batches in the tensors that train; returns loss and count."""
        names = self.training()
        for n, x in self.tensors.items():
            x.grad = None
            x.requires_grad_(n in names)
        total, count = 0.0, 0
        for b in batches:
            loss, n = self.model.loss(b, self.t["label_smoothing_factor"])
            loss.backward()
            total, count = total + loss.detach(), count + n
        for n in names:
            if self.tensors[n].grad is not None:
                self.tensors[n].grad /= count
        return float(total / count), count

    def step(self):
        loss, count = self.backward(self.micro_batches())
        grads = [self.tensors[n].grad for n in sorted(self.training())]
        norm = optim.global_norm(grads)
        optim.clip(grads, norm, self.t["max_grad_norm"])
        lr = self.t["learning_rate"]
        lr *= optim.multiplier(self.t["lr_scheduler_type"], self.done, self.t["warmup_steps"], self.total, lr, **self.t["lr_scheduler_kwargs"])
        for g in self.optimizer.param_groups:
            g["lr"] = lr * g["scale"]
        self.optimizer.step()
        self.done += 1
        return loss, float(norm), lr, count

    def result(self):
        """The trained tensors as files hold them."""
        with torch.no_grad():
            out = {n: self.tensors[n].detach() for n in self.last}
            if (self.c.get("peft") or {}).get("prefix_projection"):
                out["prompt_embeddings"] = self.model.adapter.table()
        return out

    def probe(self, path):
        """Logits of the rows of a file (rows, longest, V), zero behind each row's end; or those of classes."""
        b = Batch(read_rows(path, self.encode))
        with torch.no_grad():
            if b.classes is not None:
                return self.model.classes(b.ids, b.lengths)
            logits, T = self.model.logits(b.ids, b.lengths)
            logits = logits[:, T:]
            return logits * (torch.arange(logits.shape[1]) < b.lengths[:, None])[..., None]

    def greedy(self, prompt, new):
        """The likeliest continuation of a text, and by how much each token leads the next likeliest."""
        return {"prompt": prompt, **self.continued(self.encode(prompt), new, [self.model.config["eos_token_id"]])}

    def answer(self, messages, new):
        """The likeliest answer to a conversation in the model's own chat template."""
        stops = self.words.encode("</s><|im_end|>")
        return {"messages": messages, **self.continued(conversations.prompt(messages, self.words), new, stops)}

    def continued(self, ids, new, stops):
        ids, margins = list(ids), []
        with torch.no_grad():
            while len(margins) < new and ids[-1] not in stops:
                top = self.model.logits(torch.tensor([ids]), torch.tensor([len(ids)]))[0][0, -1].topk(2)
                ids.append(int(top.indices[0]))
                margins.append(round(float(top.values[0] - top.values[1]), 6))
        return {"output_ids": ids, "top2_margin": margins}


def write(path, value):
    """Writes JSON, a list to a line."""
    with open(path, "w") as f:
        f.write(re.sub(r"\[\n\s+([^\]]*?)\n\s+\]", lambda m: "[" + re.sub(r"\s+", " ", m[1]) + "]", json.dumps(value, indent=1)) + "\n")


def golden(folder, probe, prompt, encode=None, finals=True, messages=()):
    """Runs a scenario twice and writes what came out beside its run.json. Files hold the float64 run, rounded.

    messages is the conversation that a run on conversations answers before its first step.
    """
    runs, logs = {}, {}
    for dtype in (torch.float32, torch.float64):
        r = runs[dtype] = Run(folder, dtype, encode)
        first = {}
        if dtype is torch.float64:
            r.backward(r.micro_batches())
            first = {n: r.tensors[n].grad.clone() for n in r.training()}
        logs[dtype] = [r.step() for _ in range(r.total)]
    single, double = runs[torch.float32], runs[torch.float64]
    a, b = logs[torch.float32], logs[torch.float64]
    got, want = single.result(), double.result()
    start = double.initial
    moved = sum(float((want[n] - start[n]).pow(2).sum()) for n in start) ** 0.5
    apart = sum(float((got[n].double() - want[n]).pow(2).sum()) for n in start) ** 0.5
    logits = double.probe(probe)
    noise = {
        "loss": max(abs(x[0] - y[0]) for x, y in zip(a, b)), "grad_norm": max(abs(x[1] / y[1] - 1) for x, y in zip(a, b)),
        "final": apart / moved, "logits": float((single.probe(probe).double() - logits).abs().max()),
    }
    round9 = lambda v: float(f"{v:.9g}")
    out = {
        "loss": [round9(s[0]) for s in a], "loss_float64": [round9(s[0]) for s in b],
        "grad_norm_before_clip": [round9(s[1]) for s in a], "grad_norm_float64": [round9(s[1]) for s in b],
        "learning_rate": [round9(s[2]) for s in b], "tokens": [s[3] for s in b],
        "trainable_parameters": sum(x.numel() for x in start.values()),
        "first_gradient_norms": {n: round9(float(g.norm())) for n, g in sorted(first.items())},
        "noise": {k: float(f"{v:.2g}") for k, v in noise.items()},
    }
    write(os.path.join(folder, "trajectory.json"), out)
    if "peft" in double.c and double.c["dataset"]["format"] == "tokens":
        write(os.path.join(folder, "greedy.json"), Run(folder, torch.float64, encode).greedy(prompt, 24))
    if double.chats():
        with open(os.path.join(folder, "rows.jsonl"), "w") as f:
            for r in double.samples:
                f.write(json.dumps({"input_ids": r["input_ids"], "trained": "".join("01"[t != -100] for t in r["labels"])}) + "\n")
        if "template" not in double.c["dataset"]:
            write(os.path.join(folder, "greedy.json"), Run(folder, torch.float64, encode).answer(list(messages), 24))
    if finals:
        safetensors.save(os.path.join(folder, "final.safetensors"), {n: x.numpy() for n, x in want.items()})
        safetensors.save(os.path.join(folder, "logits.safetensors"), {"logits": logits.numpy()})
    print(f"{os.path.relpath(folder):60} loss {b[0][0]:.4f} -> {b[-1][0]:.4f}, norm {b[0][1]:.3g}; noise "
          + ", ".join(f"{k} {v:.1e}" for k, v in noise.items()), flush=True)
    return runs, logs
