from pathlib import Path

import pytest
import torch

from worldgen.metrics.calibration.preference import LEVELS
from worldgen.runs.folder import open_run
from worldgen.simulation.clips import simulate_clip
from worldgen.study.likelihood import denoising_loss
from worldgen.types import Clip

RUN = Path(__file__).resolve().parents[2] / "assets" / "nano" / "generator"


def test_the_generators_loss_is_the_mean_over_levels_at_one_noise():
    model = open_run(RUN)
    clip = simulate_clip("drop", 3)
    one = denoising_loss(model, clip, 0)
    assert one == denoising_loss(model, clip, 0) and one != denoising_loss(model, clip, 1)
    with torch.no_grad():
        latents = model.encode(clip)
        generator = torch.Generator().manual_seed(0)
        eps = torch.randn(10, *latents.z.shape[1:], generator=generator)
        losses = [
            model.loss(
                latents,
                torch.tensor([1]),
                torch.tensor([level]),
                eps[place : place + 1],
                torch.tensor([True]),
            )
            for place, level in enumerate(LEVELS)
        ]
    assert one == pytest.approx(float(torch.stack(losses).mean()), rel=1e-4)
    with pytest.raises(ValueError, match="takes one clip; got 2"):
        denoising_loss(model, Clip(clip.frames.repeat(2, 1, 1, 1, 1), clip.fps.repeat(2), ("", "")), 0)
