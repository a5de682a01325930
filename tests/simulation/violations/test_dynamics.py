from dataclasses import replace

import pytest
import torch

from tests.simulation.violations.films import film, hung, swing
from worldgen.metrics.checks.assess import assess
from worldgen.simulation.violations.graded import (
    CONTEXT_FRAMES,
    change_gravity,
    gain_energy,
    pass_through,
    slow_motion,
)
from worldgen.types import GRAVITY, Clip, Trajectory


def flight_of(clip: Clip, known: int) -> int:
    """Frames before the first touch."""
    return known + int(
        (clip.truth.position[0, known:, 0, 2] > clip.truth.extent[0, 0, 2] + 0.02).long().cumprod(0).sum()
    )


@pytest.mark.parametrize("factor", [0.0, 0.5, 2.0, -1.0])
def test_other_gravity_is_exactly_that_fall(factor):
    clip = film("drop", 3)
    fallen = change_gravity(clip, factor)
    start, stop = CONTEXT_FRAMES - 1, flight_of(fallen, CONTEXT_FRAMES)
    assert stop > CONTEXT_FRAMES + 2
    time = (torch.arange(16) - start).double()[start:stop] * 0.04
    states = clip.truth.position[0, start, 0].double(), clip.truth.velocity[0, start, 0].double()
    expected = states[0][2] + states[1][2] * time - 0.5 * factor * GRAVITY * time**2
    torch.testing.assert_close(
        fallen.truth.position[0, start:stop, 0, 2].double(), expected, rtol=0, atol=2e-6
    )
    report = assess(fallen.truth, clip="x", source="truth", reference=clip.truth)
    assert report["free_fall"].value == pytest.approx(abs(factor - 1), abs=0.01)


def test_slow_motion_is_the_same_motion_later():
    clip, twice = film("bounce", 2), slow_motion(film("bounce", 2), 2.0)
    late = twice.truth.position[0, CONTEXT_FRAMES - 1 :: 2]  # every second frame, from the last known one
    torch.testing.assert_close(
        late, clip.truth.position[0, CONTEXT_FRAMES - 1 :][: len(late)], rtol=0, atol=2e-4
    )
    pace = twice.truth.velocity[0, CONTEXT_FRAMES + 1 :: 2, 0, 0]
    torch.testing.assert_close(
        pace, clip.truth.velocity[0, CONTEXT_FRAMES : CONTEXT_FRAMES + len(pace), 0, 0] / 2
    )
    report = assess(slow_motion(film("drop", 1), 2.0).truth, clip="x", source="truth")
    assert report["free_fall"].value == pytest.approx(0.75, abs=0.02)  # 1 - 1 / 2^2


@pytest.mark.parametrize("excess", [0.1, 0.5])
def test_bodies_leave_an_impact_faster_than_they_met(excess):
    clip = film("drop", 1)
    broken = gain_energy(clip, excess).truth
    for number in range(broken.position.shape[2]):
        height = broken.position[0, :, number, 2] - broken.extent[0, number, 2]
        speed = (broken.velocity[0, :, number, 2].square() + 2 * GRAVITY * height.clamp(min=0)).sqrt()
        rising = (broken.velocity[0, :, number, 2] > 0) & (height > 0.05)
        first = int(rising.long().argmax())
        assert rising.any()
        assert float(speed[first] / speed[0]) == pytest.approx(1 + excess, rel=0.03)
    clip = film("collide", 1)
    broken = gain_energy(clip, excess).truth
    before, after = broken.velocity[0, 0, :, 0], broken.velocity[0, -1, :, 0]
    assert float(after[1] - after[0]) == pytest.approx((1 + excess) * float(before[0] - before[1]), rel=0.03)
    torch.testing.assert_close(
        (broken.mass[0] * after).sum(), (broken.mass[0] * before).sum(), rtol=0, atol=2e-3
    )


def overlap(truth: Trajectory) -> float:
    gap = (truth.position[0, :, 0] - truth.position[0, :, 1]).norm(dim=-1) - truth.extent[0, :, 0].sum()
    return float(-gap.min() / truth.extent[0, :, 0].min())


def test_bodies_pass_through_each_other_and_keep_their_momentum():
    clip = film("collide", 1)
    through = pass_through(clip, 1.0).truth
    torch.testing.assert_close(
        through.velocity[..., 0], clip.truth.velocity[:, :1, :, 0].expand(1, 16, 2), rtol=0, atol=1e-6
    )
    heights = through.position[..., 2]
    torch.testing.assert_close(heights, heights[:, :1].expand_as(heights), rtol=0, atol=1e-3)  # floors hold
    assert overlap(clip.truth) < 0.15 and overlap(through) > 1.0
    for share in (0.25, 0.5):
        partly = pass_through(clip, share).truth
        assert share - 0.1 < overlap(partly) < share + 0.15  # the deepest that frames catch
        assert (partly.position[..., 2] > heights[:, :1] - 0.01).all()
    fall = pass_through(film("drop", 1), 1.0).truth
    start = film("drop", 1).truth.position[0, 0, 0, 2]
    time = torch.arange(16) * 0.04
    torch.testing.assert_close(fall.position[0, :, 0, 2], start - 0.5 * GRAVITY * time**2, rtol=0, atol=1e-5)


def test_the_floor_gives_way_as_far_as_it_should():
    clip = film("drop", 1)
    radius = clip.truth.extent[0].min()
    for share in (0.25, 0.5):
        truth = pass_through(clip, share).truth
        lowest = (truth.position[0, :, 0, 2] - truth.extent[0, 0, 2]).min()
        assert -share * radius - 0.06 < lowest < -0.5 * share * radius


def test_bodies_on_hinges_and_slides_are_simulated_again():
    clip = hung(swing(GRAVITY, [0.7, 0.2], [0.3, 0.5]))
    heavy = change_gravity(clip, 4.0, context_frames=1)
    expected = swing(4 * GRAVITY, [0.7, 0.2], [0.3, 0.5])
    torch.testing.assert_close(heavy.truth.position, expected.position, rtol=0, atol=1e-4)
    torch.testing.assert_close(heavy.truth.velocity, expected.velocity, rtol=0, atol=1e-3)
    assert (heavy.truth.position - clip.truth.position).abs().max() > 0.2
    position = clip.truth.position.clone()
    position[:, 1:5] += 1e-4  # what is known stays, though the scene leads elsewhere by a hair
    clip = replace(clip, truth=replace(clip.truth, position=position))
    late = change_gravity(clip, 4.0, context_frames=5)
    assert torch.equal(late.truth.position[:, :5], clip.truth.position[:, :5])
    assert torch.equal(late.frames[:, :5], clip.frames[:, :5])
