"""Holds this implementation against what transformers, PEFT and torch computed: ../shared/golden."""

import json
import os
import tempfile

import numpy as np
import torch

from . import run, safetensors


def validate(shared):
    """Prints how far the forward pass, its gradients and two runs are from the goldens; raises where that is too far."""
    at = lambda *p: os.path.join(shared, *p)

    def close(what, got, limit):
        print(f"{what:48} {got:.2e} (at most {limit:.0e})")
        if not got <= limit:
            raise SystemExit("the reference does not compute what transformers and PEFT do")

    model = run.load_model(at("models/stories260k"), torch.float32)
    want = safetensors.load(at("golden/forward_stories.safetensors"))
    rows = [{"input_ids": r.tolist()} for r in want["input_ids"]]
    for x in model.params.values():
        x.requires_grad_(True)
    loss, n = model.loss(run.Batch(rows))
    (loss / n).backward()
    with torch.no_grad():
        logits, _ = model.logits(run.Batch(rows).ids, run.Batch(rows).lengths)
    close("forward: logits", np.abs(logits.numpy() - want["logits"]).max(), 5e-5)
    close("forward: loss", abs(float(loss.detach() / n) - float(want["loss"][0])), 2e-6)
    apart = lambda g, w: float(np.linalg.norm(g - w) / max(np.linalg.norm(w), 1e-30))
    close("forward: gradients", max(apart(x.grad.numpy(), want["grad." + n]) for n, x in model.params.items()), 1e-5)

    rows = safetensors.load(at("golden/train_batches.safetensors"))["input_ids"].reshape(-1, 64)
    for case, settings in {
        "full_finetune": {"trainable": ["all"]},
        "lora_qv_r8": {"peft": {"peft_type": "LORA", "r": 8, "lora_alpha": 32, "target_modules": ["q_proj", "v_proj"]}},
    }.items():
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "rows.jsonl"), "w") as f:
                f.writelines(json.dumps({"input_ids": r.tolist()}) + "\n" for r in rows)
            with open(os.path.join(folder, "run.json"), "w") as f:
                json.dump({"model": os.path.abspath(at("models/stories260k")), "dataset": {"path": "rows.jsonl"}, **settings,
                           "training": {"learning_rate": 1e-3, "lr_scheduler_type": "constant", "max_steps": 20}}, f)
            if "peft" in settings:
                os.symlink(os.path.abspath(at("golden", case, "adapter_init")), os.path.join(folder, "init"))
            r = run.Run(folder, torch.float32)
            log = [r.step() for _ in range(20)]
        with open(at("golden", case, "trajectory.json")) as f:
            t = json.load(f)
        close(case + ": losses", max(abs(a[0] - b) for a, b in zip(log, t["loss"])), 5e-6)
        close(case + ": gradient norms", max(abs(a[1] / b - 1) for a, b in zip(log, t["grad_norm_before_clip"])), 1e-5)
        final = safetensors.load(at("golden", case, "adapter_final/adapter_model.safetensors" if "peft" in settings else "final.safetensors"))
        got, start = r.result(), r.initial
        total = lambda pairs: sum(float(((a - b) ** 2).sum()) for a, b in pairs) ** 0.5
        moved = total((final[n], start[n].numpy()) for n in final)
        close(case + ": final tensors, of the distance moved", total((got[n].numpy(), final[n]) for n in final) / moved, 5e-4)
        assert set(got) == set(final)
