from dataclasses import replace

import pytest
import torch

from worldgen.metrics.tracking.appearance import centroid, cover, read_appearance
from worldgen.simulation.clips import simulate_clip
from worldgen.types import Clip


def two_squares() -> Clip:
    """A red square that is all there and a blue one that covers half of each of its pixels, on gray."""
    frame, masks = torch.full((3, 24, 24), 0.5), torch.zeros(2, 24, 24, dtype=torch.bool)
    masks[0, 4:10, 4:10], masks[1, 14:20, 13:19] = True, True
    red, blue = torch.tensor([0.9, 0.1, 0.1]), torch.tensor([0.1, 0.1, 0.9])
    frame[:, masks[0]], frame[:, masks[1]] = red[:, None], blue[:, None]
    half = frame.clone()
    half[:, masks[1]] = ((blue + 0.5) / 2)[:, None]
    return Clip(
        torch.stack([frame, half])[None], torch.tensor([25.0]), ("",), masks=masks.expand(1, 2, -1, -1, -1)
    )


def test_shares_of_mixed_pixels_are_those_that_were_mixed():
    clip = two_squares()
    look = read_appearance(clip, clip)
    torch.testing.assert_close(look.color[0], torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.1, 0.9]]))
    torch.testing.assert_close(look.background, torch.full((1, 3, 24, 24), 0.5))
    torch.testing.assert_close(look.area, torch.tensor([[36.0, 36.0]]), rtol=1e-4, atol=0)
    share, masks = cover(clip.frames, look)[0], clip.masks[0, 0].float()
    torch.testing.assert_close(share[0], masks, rtol=0, atol=1e-4)
    torch.testing.assert_close(share[1], masks * torch.tensor([1.0, 0.5])[:, None, None], rtol=0, atol=1e-4)


def test_the_center_of_a_square_is_its_middle_and_of_nothing_the_corner():
    weights = two_squares().masks[0, 0].float()
    torch.testing.assert_close(centroid(weights), torch.tensor([[6.5, 6.5], [15.5, 16.5]]))
    torch.testing.assert_close(centroid(0 * weights), torch.zeros(2, 2))


def test_objects_that_cannot_be_known_get_a_sentence():
    clip = simulate_clip("drop", 0)
    with pytest.raises(ValueError, match="needs the first frame's masks"):
        read_appearance(clip, replace(clip, masks=None))
    with pytest.raises(ValueError, match="must agree in batch and image size"):
        read_appearance(two_squares(), clip)
