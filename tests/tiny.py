"""Configurations of networks that are small and random, and quick to save and to run."""

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
