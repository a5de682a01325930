"""Is a model judged by the very network that it was conditioned on, or aligned with?"""

from __future__ import annotations

import hashlib

from torch import nn

from worldgen.encoders.base import Encoder

MOST = 0.5
"""Share of a judge's weights above which it is no judge from outside."""
_LEAST = 64
"""Numbers in a tensor from which on it can be recognized; smaller ones are zeros or ones in many models."""


def shared_weights(encoder: nn.Module, model: nn.Module) -> tuple[str, float]:
    """The encoder within a model that has most weights in common with the judge, and how large a share.

    Tensors are compared by their bytes, not by name or setting: the same weights under a LoRA, with other
    frames or a bare encoder without its predictor are recognized; the same weights rounded or trained further
    are not.

    Returns:
        Name of the encoder in the model, "" when it has none, and the share of the judge's weights in it.
    """
    own = _digests(encoder)
    total = sum(own.values())
    best = ("", 0.0)
    for name, part in model.named_modules():
        if isinstance(part, Encoder):
            theirs = _digests(part)
            share = sum(size for digest, size in own.items() if digest in theirs) / max(total, 1)
            if share > best[1] or not best[0]:
                best = (name, share)
    return best


def circularity(encoder: nn.Module, model: nn.Module) -> str:
    """A sentence for the report when the judge is part of what it judges; "" when it is not."""
    name, share = shared_weights(encoder, model)
    if share <= MOST:
        return ""
    return (
        f"CIRCULAR: {share:.0%} of the weights of the judging {type(encoder).__name__} are those of the "
        f"model's own {name}, which it was conditioned on or aligned with. Believe a second encoder instead: "
        "give another class or checkpoint, such as a TimmVideo."
    )


def _digests(module: nn.Module) -> dict[bytes, int]:
    return {
        hashlib.sha256(value.detach().cpu().contiguous().float().numpy().tobytes()).digest(): value.numel()
        for value in module.state_dict().values()
        if value.is_floating_point() and value.numel() >= _LEAST and bool((value != value.flatten()[0]).any())
    }
