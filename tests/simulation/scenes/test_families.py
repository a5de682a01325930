"""Every family against its closed form, and second takes."""

import math

import numpy as np
import pytest
import torch

from worldgen.simulation.clips import simulate_clip, simulate_trajectory
from worldgen.simulation.rendering.render import film_trajectory
from worldgen.simulation.rollout import rollout
from worldgen.simulation.scenes.families import FAMILIES, JITTER, NANO, draw_scene, retake
from worldgen.simulation.scenes.staging import build

NEW = [family for family in FAMILIES if family not in NANO]


@pytest.mark.parametrize("family", NEW)
def test_clips_of_every_family_are_complete_and_in_view(family):
    clip = simulate_clip(family, 3, frames=8)
    again = simulate_clip(family, 3, frames=8)
    assert torch.equal(clip.frames, again.frames) and clip.prompts == again.prompts
    count = clip.truth.position.shape[2]
    assert 1 <= count <= 8 and clip.masks.shape == (1, 8, count, 64, 64)
    assert (clip.frames[:, 1:] - clip.frames[:, :-1]).abs().amax() > 0.2
    border = torch.ones(64, 64, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    assert not clip.masks[..., border].any()
    first = clip.masks[0, 0]  # (N, H, W)
    across = torch.maximum(first.any(dim=1).sum(dim=1), first.any(dim=2).sum(dim=1))
    assert (across >= 6).all()
    assert not torch.equal(clip.frames, simulate_clip(family, 4, frames=8).frames)
    torch.testing.assert_close(
        film_trajectory(clip.truth, clip.scenes, 64), clip.frames, rtol=0, atol=1 / 255 + 1e-6
    )


@pytest.mark.parametrize("family", NEW)
def test_the_truth_starts_as_the_scene_says(family):
    scene = draw_scene(family, 5)
    start = rollout(scene, 1, 25.0).trajectory
    for name in ("position", "velocity", "spin"):
        expected = [getattr(thing, name) for thing in scene.things]
        np.testing.assert_allclose(getattr(start, name)[0, 0], expected, rtol=0, atol=1e-5)
    expected = [thing.size for thing in scene.things]
    np.testing.assert_allclose(start.extent[0], expected, rtol=0, atol=1e-5)


def test_second_takes_start_two_centimetres_away_and_are_the_same_scene():
    shifts = []
    for family in FAMILIES:
        for seed in range(6):
            scene = draw_scene(family, seed)
            other, same = retake(scene, 1), retake(scene, 1)
            assert other.things == same.things and other.spec.to_xml() == same.spec.to_xml()
            assert retake(scene, 2).things != other.things and retake(scene, 0) is scene
            for before, after in zip(scene.things, other.things, strict=True):
                assert (before.size, before.color, before.velocity) == (
                    after.size,
                    after.color,
                    after.velocity,
                )
                step = np.subtract(after.position, before.position)
                assert step[1] == 0
                if before.pivot is None and family not in ("drop", "bounce", "projectile", "tumble"):
                    shifts.append(math.copysign(np.linalg.norm(step), step[0]))
            assert build(scene.things, scene.setting).to_xml() == scene.spec.to_xml()
    assert len(shifts) > 80
    assert np.std(shifts) == pytest.approx(0.02, rel=0.2) and abs(np.mean(shifts)) < JITTER / 2


def test_second_takes_stay_on_slope_and_arc():
    for scene in [draw_scene("roll", seed) for seed in range(4)]:
        step = np.subtract(retake(scene, 1).things[0].position, scene.things[0].position)
        assert step[2] / step[0] == pytest.approx(
            scene.things[0].velocity[2] / scene.things[0].velocity[0], rel=1e-3
        )
    scene = draw_scene("cradle", 1)
    again = retake(scene, 3)
    for before, after in zip(scene.things, again.things, strict=True):
        assert math.dist(after.pivot, after.position) == pytest.approx(
            math.dist(before.pivot, before.position)
        )
    assert again.things[0].position != scene.things[0].position
    assert again.things[-1] == scene.things[-1]
    start = rollout(again, 1, 25.0).trajectory.position[0, 0]
    np.testing.assert_allclose(start, [thing.position for thing in again.things], rtol=0, atol=1e-5)


def test_a_take_is_a_clip_of_its_own():
    first, second = simulate_trajectory("bounce", 3), simulate_trajectory("bounce", 3, take=1)
    step = (second.position - first.position)[0, 0, 0]
    assert 0 < step.norm() < 6 * JITTER
    torch.testing.assert_close(second.velocity[0, 0], first.velocity[0, 0])
    assert torch.equal(second.position, simulate_trajectory("bounce", 3, take=1).position)
    assert simulate_clip("bounce", 3, 16, 4, take=1).prompts == simulate_clip("bounce", 3, 16, 4).prompts
    with pytest.raises(ValueError, match="take must not be negative; got -1."):
        simulate_trajectory("bounce", 3, take=-1)
