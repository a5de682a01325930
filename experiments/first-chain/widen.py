"""Give a generator that was trained without flow channels the weights, all zero, of those channels.

Run: python widen.py OLD.safetensors NEW.safetensors CODEC_CHANNELS
The flow channels lie between the still latent and the mask, see worldgen/tasks/generator.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def main(old: Path, new: Path, channels: int) -> None:
    state = load_file(old)
    weight = state["denoiser.embed.proj.weight"]
    zeros = torch.zeros_like(weight[:, :2])
    state["denoiser.embed.proj.weight"] = torch.cat(
        [weight[:, : 2 * channels], zeros, weight[:, 2 * channels :]], dim=1
    ).contiguous()
    save_file(state, new)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
