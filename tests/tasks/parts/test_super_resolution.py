import pytest
import torch

from worldgen.diffusion.super_resolution import SpatialEnlargement, SuperResolution
from worldgen.tasks.parts.super_resolution import SuperResolutionTask


def test_windows_begin_at_even_places_and_weigh_what_moves():
    task = SuperResolutionTask(
        SuperResolution(SpatialEnlargement(), (8, 8, 8)), moving=3.0, size=8, steps_seen=4
    )
    place = torch.arange(9.0)[None, :, None, None, None].expand(1, -1, 3, 16, 16) / 10
    seen = set()
    for seed in range(8):
        frames, weight = task._draw_window(place, torch.Generator().manual_seed(seed))
        assert frames.shape == (1, 3, 3, 8, 8) and weight.shape == (1, 3, 1, 8, 8)
        first = round(float(frames[0, 0, 0, 0, 0]) * 10)
        seen.add(first)
        middle = torch.tensor([abs(first + n - 4) > 1 for n in range(3)])
        assert torch.equal(weight[0, :, 0, 0, 0] == 4.0, middle)
    assert seen <= {0, 2, 4, 6} and len(seen) > 1
    with pytest.raises(ValueError, match="size must be a multiple of 8"):
        SuperResolutionTask(task.stage, size=12)
