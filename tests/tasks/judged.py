"""A small generator, and what a measure reads of clips."""

import torch

from worldgen.conditioning import Conditioner
from worldgen.diffusion.codec import KLCodec
from worldgen.diffusion.dit import DiT
from worldgen.diffusion.process import CleanFlowMatching
from worldgen.diffusion.sampler import Sampler
from worldgen.metrics.surprise import Windows
from worldgen.model import WorldModel
from worldgen.tasks.measures import (
    Reading,
)

WINDOWS = Windows(8, (4,))


SCENES = (("drop", 5), ("bounce", 4), ("collide", 5), ("drop", 3))
"""The first has one ball, the others have two."""


def generator(kind=WorldModel, **changes):
    torch.manual_seed(0)
    model = kind(
        codec=KLCodec(channels=4, widths=(16, 16, 16), temporal_stride=3),
        conditioner=changes.pop("conditioner", Conditioner(dim=16, queries=2)),
        denoiser=lambda *sizes: DiT(*sizes, dim=24, depth=1, heads=2),
        process=CleanFlowMatching(),
        sampler=Sampler(steps=2),
        **changes,
    )
    for name, weight in model.named_parameters():
        if "denoiser." in name:
            torch.nn.init.normal_(weight, std=0.1)
    return model.eval()


def read(measure, made, truth, model=None):
    readings = list(measure(model or generator(), made, truth))
    assert all(isinstance(reading, Reading) for reading in readings)
    return {name: (value, n) for name, value, n in readings}
