import math

import numpy as np
import pytest
import torch

from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.rendering.render import film_trajectory
from worldgen.simulation.rollout import rollout
from worldgen.simulation.scenes.families import Scene, draw_scene
from worldgen.types import GRAVITY


def _scenes(family: str, count: int = 8) -> list[Scene]:
    return [draw_scene(family, seed) for seed in range(count)]


def test_a_pendulum_keeps_the_period_of_the_elliptic_integral():
    for scene in _scenes("pendulum", 4):
        played, bob = rollout(scene, 1501, 500.0), scene.things[0]
        arm = played.trajectory.position[0, :, 0].numpy() - bob.pivot
        angle, length = np.arctan2(arm[:, 0], -arm[:, 2]), np.linalg.norm(arm[0])
        swing = abs(angle[0])
        assert swing == pytest.approx(2 * math.asin(abs(bob.rotation[2])), abs=1e-5)
        assert length == pytest.approx(
            dict(scene.setting.constants)["length"], rel=1e-5
        )  # six digits of MJCF
        np.testing.assert_allclose(np.linalg.norm(arm, axis=1), length, rtol=3e-6)
        before = np.flatnonzero(np.sign(angle[:-1]) != np.sign(angle[1:]))
        crossings = (before + angle[before] / (angle[before] - angle[before + 1])) / 500
        inertia = length**2 + 0.4 * bob.radius**2
        small = 2 * math.pi * math.sqrt(inertia / (GRAVITY * length))
        assert crossings[2] - crossings[0] == pytest.approx(small / _agm(1, math.cos(swing / 2)), rel=3e-6)
        scale = (
            np.ptp(played.trajectory.position[0, :, 0, 2].numpy()) * GRAVITY * played.trajectory.mass.item()
        )
        assert np.ptp(played.energy) < 1e-6 * scale


def _agm(a: float, b: float) -> float:
    for _ in range(8):
        a, b = (a + b) / 2, math.sqrt(a * b)
    return a


def test_a_cradle_passes_its_swing_on():
    heights = 0
    for scene in _scenes("cradle", 10):
        constants, count = dict(scene.setting.constants), len(scene.things)
        if constants["raised"] != 1:
            continue
        played = rollout(scene, 1201, 1000.0)
        trajectory, contacts = played.trajectory, played.trajectory.contacts[0]
        rise = trajectory.position[0, :, :, 2] - trajectory.position[0, 0, -1, 2]
        share = (rise[:, -1].max() / rise[0, 0]).item()  # the speed's share, squared
        e = constants["restitution"]
        assert share == pytest.approx(((1 + e) / 2) ** (2 * (count - 1)), rel=0.03)
        first = int(contacts.time[0] * 1000)
        before, after = trajectory.velocity[0, first - 1, :, 0], trajectory.velocity[0, first + 11, :, 0]
        assert after.sum().item() == pytest.approx(before.sum().item(), rel=0.01)
        last = [i for i, pair in enumerate(contacts.bodies.tolist()) if count - 1 in pair][0]
        speed = trajectory.velocity[0, :, -1].norm(dim=-1).max().item()
        lever = 1 + 0.4 * (scene.things[0].radius / constants["length"]) ** 2  # a ball on a rod turns, too
        expected = trajectory.mass[0, -1].item() * speed * lever
        assert contacts.impulse[last].item() == pytest.approx(expected, rel=0.03)
        heights += 1
    assert heights >= 5


def test_a_hung_ball_can_be_filmed_anywhere():
    clip = simulate_clip("pendulum", 1, frames=2)
    position = clip.truth.position.clone()
    position[..., 2] += 0.3
    moved = clip.truth.__class__(**{**vars(clip.truth), "position": position})
    frames = film_trajectory(moved, clip.scenes, 64)
    shift = clip.camera.project(position, 64, 64) - clip.camera.project(clip.truth.position, 64, 64)
    color = (frames[0, 0].amax(dim=0) - frames[0, 0].amin(dim=0)) > 0.3
    y = (color.float().sum(dim=1) * torch.arange(64)).sum() / color.sum()
    old = (clip.masks[0, 0, 0].float().sum(dim=1) * torch.arange(64)).sum() / clip.masks[0, 0, 0].sum()
    assert (y - old).item() == pytest.approx(shift[0, 0, 0, 1].item(), abs=0.5) and y < old - 5
