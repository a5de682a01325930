"""Optical flow of known shifts."""

import pytest
import torch
from torch.testing import assert_close

from worldgen.diffusion.optical_flow import optical_flow


def disc(shift, radius=6, rows=32, columns=48, wall=0.2):
    """A soft disc at (20, 12) + shift; a wall that does not move begins at column 27."""
    y, x = torch.meshgrid(torch.arange(float(rows)), torch.arange(float(columns)), indexing="ij")
    inside = torch.sigmoid(2 * radius - 2 * ((x - 20 - shift[0]) ** 2 + (y - 12 - shift[1]) ** 2).sqrt())
    background = torch.where(x < 27, 0.2, wall)
    return (background * (1 - inside) + 0.5 * inside).expand(1, 3, -1, -1)


@pytest.mark.parametrize(
    "shift", [(0.0, 0.0), (1.0, 0.0), (-0.6, 0.4), (0.0, -1.2), (3.5, -2.0), (-4.0, 3.0)]
)
def test_flow_is_the_shift(shift):
    flow = optical_flow(disc((0.0, 0.0)), disc(shift), (4, 6))
    assert_close(flow[0, :, 1, 2], torch.tensor(shift, dtype=torch.float32), atol=0.04, rtol=0.03)
    assert flow[0, :, :, 5].abs().max() < 0.05  # nothing moves there


def test_a_wall_beside_a_small_disc_does_not_stop_it():
    """Every pixel at equal weight finds -0.05 of the -1 here."""
    flow = optical_flow(disc((0.0, 0.0), 3, wall=1.0), disc((-1.0, 0.5), 3, wall=1.0), (4, 6))
    assert flow[0, 0, 1, 2] < -0.35


def test_flow_turns_with_the_picture_and_its_time():
    first, second = disc((0.0, 0.0), rows=48), disc((1.5, -0.7), rows=48)
    flow = optical_flow(first, second, (6, 6))
    turned = optical_flow(first.transpose(2, 3), second.transpose(2, 3), (6, 6))
    assert_close(turned, flow.transpose(2, 3).flip(1), atol=1e-5, rtol=1e-4)
    mirrored = optical_flow(first.flip(3), second.flip(3), (6, 6))
    assert_close(mirrored[:, 0], -flow[:, 0].flip(2), atol=1e-3, rtol=1e-2)
    assert_close(optical_flow(second, first, (6, 6)), -flow, atol=1e-4, rtol=1e-3)
