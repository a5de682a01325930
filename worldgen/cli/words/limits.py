"""Least and most of numbers, by name: one word means one thing in every command and every class of yaml.

What lies beyond cannot be meant. It is refused before anything is imported, let alone computed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

ANY = (-math.inf, math.inf)
"""Of a number that every finite value can be meant for."""
LIMITS: Mapping[str, tuple[float, float]] = {
    "at": (0, 10**6),
    "background": (0, 255),
    "best_of": (1, 1000),
    "clips": (1, 10**9),
    "context_frames": (0, 10**5),
    "contexts": (1, 10**5),
    "control_scale": (-100, 100),
    "fps": (1e-3, 1e6),
    "frames": (1, 10**5),
    "gravity": (0, 1000),
    "keyframes": (2, 10**4),
    "lr": (1e-9, 10),
    "lufs": (-70, 0),
    "multiple": (1, 4096),
    "overlap": (1, 10**5),
    "physics_guidance": (0, 100),
    "port": (0, 65535),
    "processes": (1, 1024),
    "rank": (1, 10**4),
    "rate": (1e-3, 1e9),
    "samples": (1, 10**4),
    "seconds": (1e-3, 86400),
    "seed": (0, 2**32 - 1),
    "size": (1, 4096),
    "skip": (1, 10**5),
    "slow": (1, 100),
    "steps": (1, 1000),
    "strength": (0, 1),
    "stride": (1, 10**5),
    "window": (2, 10**5),
}
"""Of options."""
KEYS: Mapping[str, tuple[float, float]] = {
    "adversarial": (0, 1000000.0),
    **{name: LIMITS[name] for name in ("clips", "fps", "frames", "seed", "size", "stride")},
    "alpha": (0, 1000000.0),
    "aspect": (0.001, 1000.0),
    "average": (0, 0.999999999),
    "batch_size": (1, 10**6),
    "block": (0, 10**4),
    "blocks": (1, 10**4),
    "cell": (1, 4096),
    "cells": (1, 10**5),
    "channels": (1, 10**5),
    "coefficient": (0, 1000000.0),
    "codes": (2, 10**7),
    "commitment": (0, 1000000.0),
    "chunk": (1, 10**4),
    "context": (1, 10**5),
    "random": (0, 1),
    "sets": (1, 10**4),
    "strength": (0, 1),
    "decay": (0, 0.999999999),
    "depth": (0, 10**4),
    "margin": (0, 1000000.0),
    "packed_tokens": (1, 10**9),
    "Trainer.accumulate_grad_batches": (1, 10**9),
    "Trainer.check_val_every_n_epoch": (1, 10**9),
    "Trainer.gradient_clip_val": (0, 1e9),
    "Trainer.limit_predict_batches": (0, 10**9),
    "Trainer.limit_test_batches": (0, 10**9),
    "Trainer.limit_train_batches": (0, 10**9),
    "Trainer.limit_val_batches": (0, 10**9),
    "Trainer.log_every_n_steps": (0, 10**9),
    "Trainer.max_epochs": (-1, 10**9),
    "Trainer.max_steps": (-1, 10**12),
    "Trainer.min_epochs": (0, 10**9),
    "Trainer.min_steps": (0, 10**12),
    "Trainer.num_nodes": (1, 10**6),
    "Trainer.num_sanity_val_steps": (-1, 10**9),
    "Trainer.overfit_batches": (0, 10**9),
    "Trainer.reload_dataloaders_every_n_epochs": (0, 10**9),
    "Trainer.val_check_interval": (1e-9, 10**9),
    "DiT.depth": (1, 10**4),
    "Resampler.depth": (1, 10**4),
    "JointAttention.depth": (1, 10**4),
    "detail": (1, 256),
    "dim": (1, 10**6),
    "drop": (0, 1),
    "dropout": (0, 1),
    "floor": (1e-06, 1),
    "gain": (0, 1000000.0),
    "guidance": (0, 1000000.0),
    "head_dim": (1, 10**4),
    "heads": (1, 10**5),
    "hidden": (1e-06, 1),
    "kl": (0, 1000000.0),
    "layers": (1, 10**4),
    "likelihood": (0, 1000000.0),
    "native": (1, 10**4),
    "noisy": (0, 1),
    "norm_groups": (1, 10**4),
    "DynamicsTask.noise": (0, 1000.0),
    "DecoderTask.noise": (0, 1000.0),
    "VoiceTask.texts": (1, 10**9),
    "SoundTask.seconds": (1e-3, 3600),
    "BallForecast.noise": (0, 1000.0),
    "SuperResolution.noise": (0, 1),
    "told": (0, 1),
    "TrueStates.error": (0, 1000.0),
    "batch": (1, 10**6),
    "count": (1, 10**9),
    "val_count": (1, 10**9),
    "length": (1e-06, 1000000.0),
    "lr": (0, 1000.0),
    "min_snr": (1e-06, 1000000.0),
    "momentum": (0, 0.999999999),
    "moving": (0, 1000000.0),
    "objects": (1, 10**4),
    "outputs": (1, 2),
    "patch": (1, 4096),
    "patience": (1, 10**9),
    "peak": (1e-06, 1000000.0),
    "pool": (1, 4096),
    "power": (0, 3),
    "predictor_dim": (1, 10**6),
    "predictor_heads": (1, 10**5),
    "predictor_layers": (1, 10**4),
    "queries": (1, 10**6),
    "rank": (1, 10**5),
    "readings": (1, 1000),
    "read": (0, 10),
    "reduction": (0.001, 1000000.0),
    "revive": (0, 1000.0),
    "sample": (1, 10**9),
    "sampled": (0, 10**6),
    "seed_everything": LIMITS["seed"],
    "seen": (0, 1),
    "share": (0, 1),
    "shift": (0.001, 1000.0),
    "shot": (0, 10),
    "slot_drop": (0, 1),
    "space": (1, 10**4),
    "spacetime": (1, 10**4),
    "span": (1, 10**4),
    "state": (1, 10**4),
    "spike": (1.001, 1000000.0),
    "steps": (1, 10**6),
    "steps_seen": (1, 10**5),
    "test_clips": LIMITS["clips"],
    "train_clips": LIMITS["clips"],
    "target": (1, 10**5),
    "temporal_stride": (1, 10**4),
    "tile": (1, 10**5),
    "tolerance": (0, 1),
    "tubelet": (1, 10**4),
    "vocabulary": (1, 10**8),
    "warmup": (0, 10**9),
    "weight_decay": (0, 1000.0),
    "width": (1, 10**5),
    "widths": (1, 10**5),
    "StepGuard.window": (10, 10**6),
    "windows": (1, 10**4),
    "workers": (0, 1024),
}
"""Of keys of yaml; ``CLASS.KEY`` where a class has its own."""


def limits_of(path: str, name: str) -> tuple[float, float] | None:
    """Limits of a key of the class or function at an import path; None where there are none."""
    own = KEYS.get(f"{path.rpartition('.')[2]}.{name}")
    return own or (KEYS.get(name) if path.startswith("worldgen.") else None)


def require_within(value: float, limits: tuple[float, float], name: str) -> None:
    """Raise ValueError where a number lies beyond its limits, or is none.

    Args:
        value: What was given.
        limits: Least and most, both of them allowed.
        name: Of the option or key.
    """
    least, most = limits
    if not (least <= value <= most and math.isfinite(value)):
        raise ValueError(f"{name} must be from {least:,.10g} to {most:,.10g}; got {value:.10g}.")
