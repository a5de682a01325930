"""Configurations of networks that are small and random, and quick to save and to run."""

import torch
from torch import Tensor
from transformers import VJEPA2Config


def tiny_vjepa2(size: int = 32, frames: int = 8, dim: int = 32, layers: int = 2) -> VJEPA2Config:
    """Random weights large enough that tokens differ."""
    return VJEPA2Config(
        patch_size=16,
        crop_size=size,
        frames_per_clip=frames,
        tubelet_size=2,
        hidden_size=dim,
        num_attention_heads=2,
        num_hidden_layers=layers,
        pred_hidden_size=24,
        pred_num_attention_heads=2,
        pred_num_hidden_layers=layers,
        num_pooler_layers=1,
        initializer_range=0.2,
    )


def random_alexnet() -> dict[str, Tensor]:
    """Weights under the names that torchvision's AlexNet gives its own, but for most of its classifier."""
    generator = torch.Generator().manual_seed(0)
    shapes = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
    state = {"classifier.1.weight": torch.zeros(1)}
    for layer, (out, into, side) in shapes.items():
        state[f"features.{layer}.weight"] = (
            torch.rand(out, into, side, side, generator=generator) - 0.5
        ) / side
        state[f"features.{layer}.bias"] = torch.rand(out, generator=generator)
    return state
