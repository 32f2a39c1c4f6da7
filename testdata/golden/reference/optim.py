"""Learning-rate schedules as transformers' get_scheduler computes them, and clipping as torch's clip_grad_norm_."""

import math

import torch


def multiplier(kind, step, warmup, total, lr, num_cycles=None, power=1.0, lr_end=1e-7, timescale=None, min_lr=None, min_lr_rate=0.0,
               warmup_lr_rate=None, num_decay_steps=0, num_stable_steps=None, warmup_type="linear", decay_type="cosine", min_lr_ratio=0.0):
    """The factor on the learning rate when step updates have been made; the settings are those of lr_scheduler_kwargs."""
    if kind == "constant":
        return 1.0
    least = min_lr_rate if min_lr is None else min_lr / lr
    part = lambda done, how: {"linear": done, "cosine": (1 - math.cos(math.pi * done)) / 2, "1-sqrt": 1 - math.sqrt(1 - done)}[how]
    if step < warmup:
        if kind == "cosine_warmup_with_min_lr":
            first = 1 / warmup if warmup_lr_rate is None else warmup_lr_rate
            return first + step * (1 - first) / max(1, warmup - 1)
        if kind == "warmup_stable_decay":
            return max(0.0, part(step / warmup, warmup_type) * (1 - min_lr_ratio) + min_lr_ratio)
        return step / max(1, warmup)
    if kind == "constant_with_warmup":
        return 1.0
    if kind == "inverse_sqrt":
        scale = timescale or warmup or 10_000
        return 1 / math.sqrt((step + scale - warmup) / scale)
    if kind == "polynomial":
        if step > total:
            return lr_end / lr
        return ((lr - lr_end) * (1 - (step - warmup) / (total - warmup)) ** power + lr_end) / lr
    if kind == "warmup_stable_decay":
        stable = total - warmup - num_decay_steps if num_stable_steps is None else num_stable_steps
        if step < warmup + stable:
            return 1.0
        done = (step - warmup - stable) / max(1, num_decay_steps)
        if done >= 1:
            return min_lr_ratio
        left = {"linear": 1 - done, "1-sqrt": 1 - math.sqrt(done), "cosine": 0.5 * (1 + math.cos(math.pi * (num_cycles or 0.5) * 2 * done))}[decay_type]
        return max(0.0, left * (1 - min_lr_ratio) + min_lr_ratio)
    progress = (step - warmup) / max(1, total - warmup)
    if kind == "linear":
        return max(0.0, 1 - progress)
    if kind == "cosine_with_restarts":
        return 0.0 if progress >= 1 else max(0.0, 0.5 * (1 + math.cos(math.pi * ((num_cycles or 1) * progress % 1.0))))
    if kind == "cosine_warmup_with_min_lr":
        progress = (step - warmup + 1) / max(1, total - warmup)
    wave = max(0.0, 0.5 * (1 + math.cos(math.pi * (num_cycles or 0.5) * 2 * progress)))
    if kind == "cosine":
        return wave
    if kind in ("cosine_with_min_lr", "cosine_warmup_with_min_lr"):
        return max(0.0, wave * (1 - least) + least)
    raise ValueError(kind)


def global_norm(grads):
    return torch.sqrt(sum((g * g).sum() for g in grads))


def clip(grads, norm, limit):
    """Scales gradients in place to a global norm of at most limit; 0 leaves them."""
    if limit:
        factor = min(1.0, float(limit / (norm + 1e-6)))
        for g in grads:
            g.mul_(factor)
