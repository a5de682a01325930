"""What a generated clip did, as rows with intervals."""

from dataclasses import replace

import pytest
import torch

from tests.tiny import random_alexnet
from worldgen.evaluation.outcomes import describe_fidelity, describe_lpips, look_at, measure_lpips
from worldgen.metrics.fidelity import (
    PerceptualDistance,
)
from worldgen.types import Clip


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_lpips_is_a_row_of_its_own_where_weights_are_given(tmp_path):
    pytest.importorskip("torchmetrics")
    torch.save(random_alexnet(), tmp_path / "alexnet.pth")
    distance = PerceptualDistance(tmp_path / "alexnet.pth")
    pairs = [
        tuple(Clip(noise(1, 4, 3, 32, 32, seed=seed + side), torch.tensor([8.0]), ("",)) for side in (0, 9))
        for seed in (1, 2, 3)
    ]
    row = describe_lpips("generated", [measure_lpips(*pair, 1, distance) for pair in pairs], 32)
    own = [float(distance(made.frames[:, 1:], true.frames[:, 1:])) for made, true in pairs]
    assert row.value == pytest.approx(sum(own) / 3) and row.low < row.value < row.high
    assert row.note == "fidelity, not physics"
    looks = [look_at(made, true, 1, moves=number < 2) for number, (made, true) in enumerate(pairs)]
    names = [found.name for found in describe_fidelity("generated", looks)]
    both = ("temporal flicker", "dynamic degree")
    assert names == [
        "generated: PSNR",
        "generated: SSIM",
        *(f"{whose}: {what}" for whose in ("generated", "truth") for what in both),
    ]
    assert describe_fidelity("generated", looks)[3].unit == "of 2 clips"
    small = [tuple(replace(clip, frames=clip.frames[..., :30]) for clip in pair) for pair in pairs]
    row = describe_lpips("generated", [measure_lpips(*pair, 1, distance) for pair in small], 30)
    assert row.value is None and "needs 31 pixels, and these frames have 30" in row.note
