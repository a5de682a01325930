"""An encoder whose tokens are known."""

import torch

from worldgen.encoders.base import Encoder, Tokens


class Palette(Encoder):
    """Token per frame: its mean color, through a layer that has weights."""

    dim = 3

    def __init__(self, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.layer = torch.nn.Linear(30, 30)
        self.layer.weight.data = torch.randn(30, 30, generator=generator)
        self.freeze()

    def encode(self, clip):
        values = clip.frames.mean(dim=(3, 4))
        mask = torch.ones(values.shape[:2], dtype=torch.bool)
        mask[:, -1] = False
        return Tokens(values, mask)
