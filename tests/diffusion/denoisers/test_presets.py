import pytest
import torch

from worldgen.diffusion.denoisers import presets
from worldgen.diffusion.denoisers.presets import LatteS, VideoDiT1B

PUBLISHED = {
    ("S", 2): 32_963_360,
    ("S", 4): 32_945_024,
    ("S", 8): 33_148_160,
    ("B", 2): 130_512_416,
    ("B", 4): 130_475_648,
    ("B", 8): 130_881_536,
    ("L", 2): 458_102_816,
    ("L", 4): 458_053_760,
    ("L", 8): 458_594_816,
    ("XL", 2): 675_129_632,
    ("XL", 4): 675_074_432,
    ("XL", 8): 675_683_072,
}
"""Parameters of the authors' DiTs: latents of 32 x 32 x 4, 1,000 classes, learned variance."""
LATTE = {"B": 129_834_272, "L": 457_198_624, "XL": 674_112_416}
"""Of the authors' Latte: patch 2, 16 frames, 101 classes."""
VIDEO = {"1B": 1_037_373_504, "2B": 2_055_471_168, "5B": 5_074_704_448, "11B": 10_864_793_664}
"""Ours, with latents of 16 channels, 19 beside them, and a condition of 1,024."""


def count(model):
    return sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize("size, patch", PUBLISHED)
def test_published_dits_have_their_number_of_parameters(size, patch):
    with torch.device("meta"):
        model = getattr(presets, f"DiT{size}")(4, 0, 1000, (1, patch, patch), cells=(1, 32, 32), outputs=2)
    assert count(model) == PUBLISHED[size, patch]


@pytest.mark.parametrize("size", LATTE)
def test_published_lattes_have_their_number_of_parameters(size):
    with torch.device("meta"):
        model = getattr(presets, f"Latte{size}")(4, 0, 101, cells=(16, 32, 32), outputs=2)
    assert count(model) == LATTE[size]


@pytest.mark.parametrize("size", VIDEO)
def test_sizes_for_video_hold_what_their_names_say(size):
    with torch.device("meta"):
        model = getattr(presets, f"VideoDiT{size}")(16, 19, 1024)
    assert count(model) == VIDEO[size]
    assert count(model) == pytest.approx(float(size[:-1]) * 1e9, rel=0.05)


def test_a_large_model_is_shaped_without_memory():
    from worldgen.types import Conditioning

    with torch.device("meta"):
        model = VideoDiT1B(16, 19, 1024)
        x, context = torch.zeros(1, 5, 16, 32, 56), torch.zeros(1, 5, 19, 32, 56)
        tokens = torch.zeros(1, 3, 1024)
        out = model(x, torch.zeros(1), context, Conditioning(tokens, tokens[..., 0] == 0, tokens[:, 0]))
    assert out.shape == x.shape


def test_cells_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match=r"cells must divide into patches of \(1, 2, 2\); got \(1, 33, 32\)"):
        LatteS(4, 0, 101, cells=(1, 33, 32))
