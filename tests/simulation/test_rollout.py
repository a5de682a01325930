"""The physics of the scenes against closed forms."""

import numpy as np
import pytest
import torch

from worldgen.simulation.clips import simulate_trajectory
from worldgen.simulation.engine import mujoco
from worldgen.simulation.rollout import Rollout, rollout
from worldgen.simulation.scenes.families import (
    NANO,
    RESTITUTION,
    Scene,
    damping_of_restitution,
    draw_scene,
)
from worldgen.types import GRAVITY

SEEDS = range(16)


def _scenes(family: str, **conditions: int) -> list[Scene]:
    return [draw_scene(family, seed, **conditions) for seed in SEEDS]


@pytest.mark.parametrize("family", ["drop", "bounce"])
def test_free_flight_follows_the_parabola(family):
    flights = 0
    for scene in _scenes(family):
        played = rollout(scene, frames=16, fps=25.0)
        contacts = played.trajectory.contacts[0]
        for index, ball in enumerate(scene.things):
            times = contacts.time[(contacts.bodies == index).any(dim=1)]
            until = float(times.min()) if len(times) else np.inf
            t = np.arange(16)[np.arange(16) / 25 < until - 0.003][:, None] / 25
            expected = np.array(ball.position) + np.array(ball.velocity) * t
            expected[:, 2] -= GRAVITY / 2 * t[:, 0] ** 2
            found = played.trajectory.position[0, : len(t), index].numpy()
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
            flights += len(t) > 4
    assert flights >= 8


def test_frames_fall_on_steps_at_any_rate():
    scene = draw_scene("drop", 0)
    for fps in (24.0, 25.0, 29.97, 7.0):
        played = rollout(scene, frames=3, fps=fps)
        start = scene.things[0].position[2]
        found = played.trajectory.position[0, 2, 0, 2].item()
        assert found == pytest.approx(start - GRAVITY / 2 * (2 / fps) ** 2, abs=1e-9)
        assert played.trajectory.dt.item() == pytest.approx(1 / fps, rel=1e-12)


@pytest.mark.parametrize("material", RESTITUTION)
def test_a_bounce_returns_the_materials_share_of_the_speed(material):
    shares = []
    for family in ("drop", "bounce"):
        for scene in _scenes(family):
            played = rollout(scene, frames=301, fps=500.0)
            for index, ball in enumerate(scene.things):
                touch = _first_touch(played, index)
                if ball.material == material and touch is not None and touch < 0.5:
                    shares.append(_energy_share(played, index, ball.radius, int(touch * 500)) ** 0.5)
    assert len(shares) >= 8 and RESTITUTION == {"rubber": 0.85, "wooden": 0.5}
    np.testing.assert_allclose(shares, RESTITUTION[material], rtol=0, atol=0.03)


def _first_touch(played: Rollout, index: int) -> float | None:
    contacts = played.trajectory.contacts[0]
    times = contacts.time[(contacts.bodies == index).any(dim=1)]
    return float(times[0]) if len(times) else None


def _energy_share(played: Rollout, index: int, radius: float, step: int) -> float:
    """Vertical energy at the floor 40 ms after a touch over that before it."""
    height = played.trajectory.position[0, :, index, 2] - radius
    speed = played.trajectory.velocity[0, :, index, 2]
    energy = speed**2 / 2 + GRAVITY * height
    return float(energy[step + 20] / energy[step - 2])


def test_collisions_keep_momentum_and_lose_speed_by_material():
    hit = {material: [] for material in RESTITUTION}
    for scene in [draw_scene("collide", seed) for seed in range(32)]:
        played = rollout(scene, frames=301, fps=500.0)
        trajectory, contacts = played.trajectory, played.trajectory.contacts[0]
        momentum = trajectory.mass[0, :, None] * trajectory.velocity[0]  # (T 2 3)
        total, scale = momentum.sum(dim=1)[:, :2], momentum[0].abs().sum()
        torch.testing.assert_close(total, total[:1].expand_as(total), rtol=0, atol=1e-12 * scale.item())
        assert trajectory.spin.abs().max() < 1e-12
        between = (contacts.bodies.min(dim=1).values >= 0).nonzero()
        if not len(between) or contacts.time[between[0]] > 0.55:
            continue
        touch = int(between[0])
        normal, step = contacts.normal[touch], int(contacts.time[touch] * 500)
        closing = (trajectory.velocity[0, :, 1] - trajectory.velocity[0, :, 0]) @ normal
        hit[scene.things[0].material].append(float(-closing[step + 15] / closing[step - 1]))
    for material, restitution in RESTITUTION.items():
        assert len(hit[material]) >= 3
        np.testing.assert_allclose(np.median(hit[material]), restitution, rtol=0, atol=0.03)
        np.testing.assert_allclose(hit[material], restitution, rtol=0, atol=0.05)


@pytest.mark.parametrize("family", NANO)
def test_energy_is_kinetic_plus_potential(family):
    for scene in _scenes(family)[:4]:
        played = rollout(scene, frames=16, fps=25.0)
        trajectory = played.trajectory
        kinetic = trajectory.mass[:, None] * trajectory.velocity.square().sum(dim=-1) / 2
        potential = trajectory.mass[:, None] * GRAVITY * trajectory.position[..., 2]
        found = (kinetic + potential).sum(dim=-1)[0]
        torch.testing.assert_close(found, torch.from_numpy(played.energy), rtol=1e-12, atol=1e-12)
        # While balls touch, the contact stores energy that belongs to no body; apart again, some is lost.
        gap = (trajectory.position[0, :, :, 2] - trajectory.extent[0, :, 2]).amin(dim=1)
        apart = (gap > 0).numpy() if family != "collide" else np.arange(16) % 15 == 0
        assert (np.diff(played.energy[apart]) < 1e-9).all() and played.energy[apart][-1] < played.energy[0]


def test_impulses_account_for_the_change_of_momentum():
    for family in NANO:
        for scene in _scenes(family)[:4]:
            trajectory = rollout(scene, frames=16, fps=25.0).trajectory
            contacts = trajectory.contacts[0]
            received = torch.zeros_like(trajectory.velocity[0, 0])
            for bodies, normal, impulse in zip(
                contacts.bodies, contacts.normal, contacts.impulse, strict=True
            ):
                for body, sign in zip(bodies.tolist(), (-1.0, 1.0), strict=True):
                    if body >= 0:
                        received[body] += sign * impulse * normal
            gained = trajectory.mass[0, :, None] * (trajectory.velocity[0, -1] - trajectory.velocity[0, 0])
            gained[:, 2] += trajectory.mass[0] * GRAVITY * 15 / 25
            touched = torch.tensor([bool((contacts.bodies == n).any()) for n in range(len(scene.things))])
            # The normal of a long collision turns a little; the reported one is the first.
            torch.testing.assert_close(
                received[touched], gained[touched], rtol=0, atol=0.02 * gained.abs().max().item()
            )
            torch.testing.assert_close(contacts.normal.norm(dim=1), torch.ones_like(contacts.time))
            assert (contacts.impulse > 0).all() and (contacts.time.diff() >= 0).all()


def test_the_world_may_come_second_in_a_contact():
    scene = draw_scene("drop", 2)
    floor = scene.spec.geom("floor")
    floor.type, floor.size, floor.pos = mujoco.mjtGeom.mjGEOM_BOX, [5, 5, 0.5], [0, 0, -0.5]
    boxed, plain = (rollout(each, 16, 25.0).trajectory for each in (scene, draw_scene("drop", 2)))
    torch.testing.assert_close(boxed.position, plain.position, rtol=0, atol=1e-6)
    assert boxed.contacts[0].bodies[0].tolist() == plain.contacts[0].bodies[0].flip(0).tolist()
    torch.testing.assert_close(boxed.contacts[0].normal, -plain.contacts[0].normal, rtol=0, atol=1e-6)
    torch.testing.assert_close(boxed.contacts[0].impulse, plain.contacts[0].impulse, rtol=1e-5, atol=0)


def test_without_gravity_a_thrown_ball_goes_straight():
    scene = draw_scene("bounce", 3)
    rise = abs(scene.things[0].velocity[2])
    floating = draw_scene("bounce", 3, gravity=0.0)
    for played in (rollout(scene, 6, 25.0, gravity=0.0), rollout(floating, 6, 25.0)):
        t = torch.arange(6, dtype=torch.float64)[:, None] / 25
        ball = scene.things[0]
        expected = torch.tensor(ball.position) + torch.tensor(ball.velocity, dtype=torch.float64) * t
        assert rise > 0 and played.trajectory.contacts[0].time.numel() == 0
        torch.testing.assert_close(played.trajectory.position[0, :, 0], expected, rtol=0, atol=1e-6)
    still = simulate_trajectory("drop", 1, gravity=0.0)
    torch.testing.assert_close(still.position[:, -1], still.position[:, 0], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: draw_scene("juggle", 0),
            "family must be one of drop, bounce, collide, slide, .*; got 'juggle'.",
        ),
        (lambda: draw_scene("drop", -1), "seed must not be negative; got -1."),
        (lambda: rollout(draw_scene("drop", 0), 0, 25.0), "frames must be at least 1; got 0."),
        (
            lambda: rollout(draw_scene("drop", 0), 4, 0.0),
            "fps must be a positive number of frames per second",
        ),
        (lambda: rollout(draw_scene("drop", 0), 4, -5.0), "got -5.0"),
        (lambda: rollout(draw_scene("drop", 0), 4, float("inf")), "got inf"),
        (lambda: damping_of_restitution(0.1), r"restitution must lie in \[0.15, 1\].*got 0.1"),
    ],
)
def test_bad_arguments_are_named(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
