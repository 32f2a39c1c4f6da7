"""Learning-rate schedules as transformers' get_scheduler computes them, and clipping as torch's clip_grad_norm_."""

import math

import torch


def multiplier(kind, step, warmup, total, lr):
    """The factor on the learning rate when step updates have been made."""
    if kind == "constant":
        return 1.0
    if step < warmup:
        return step / max(1, warmup)
    if kind == "constant_with_warmup":
        return 1.0
    if kind == "inverse_sqrt":
        scale = warmup or 10_000
        return 1 / math.sqrt((step + scale - warmup) / scale)
    if kind == "polynomial":
        end = 1e-7
        if step > total:
            return end / lr
        return ((lr - end) * (1 - (step - warmup) / (total - warmup)) + end) / lr
    progress = (step - warmup) / max(1, total - warmup)
    if kind == "linear":
        return max(0.0, 1 - progress)
    if kind == "cosine":
        return max(0.0, 0.5 * (1 + math.cos(math.pi * progress)))
    if kind == "cosine_with_restarts":
        return 0.0 if progress >= 1 else max(0.0, 0.5 * (1 + math.cos(math.pi * (progress % 1.0))))
    raise ValueError(kind)


def global_norm(grads):
    return torch.sqrt(sum((g * g).sum() for g in grads))


def clip(grads, norm, limit):
    """Scales gradients in place to a global norm of at most limit; 0 leaves them."""
    if limit:
        factor = min(1.0, float(limit / (norm + 1e-6)))
        for g in grads:
            g.mul_(factor)
