"""Every family against its closed form, and second takes."""

import math

import numpy as np
import pytest
import torch

from worldgen.simulation.clips import simulate_clip, simulate_trajectory
from worldgen.simulation.engine import model_of, mujoco, object_bodies
from worldgen.simulation.rendering.render import film_trajectory
from worldgen.simulation.rollout import Rollout, rollout
from worldgen.simulation.scenes.families import FAMILIES, JITTER, NANO, Scene, draw_scene, retake
from worldgen.simulation.scenes.staging import build, stage
from worldgen.types import GRAVITY

NEW = [family for family in FAMILIES if family not in NANO]


def _scenes(family: str, count: int = 8) -> list[Scene]:
    return [draw_scene(family, seed) for seed in range(count)]


def _along(played: Rollout, index: int = 0) -> np.ndarray:
    """Signed distance of an object from its start along the line that it leaves it on."""
    way = (played.trajectory.position[0, :, index] - played.trajectory.position[0, 0, index]).numpy()
    return way @ (way[-1] / np.linalg.norm(way[-1]))


def test_a_thrown_body_of_any_shape_flies_along_the_parabola():
    shapes = set()
    for scene in _scenes("projectile", 24):
        played, body = rollout(scene, 16, 25.0), scene.things[0]
        t = np.arange(16)[:, None] / 25
        expected = np.array(body.position) + np.array(body.velocity) * t - [0, 0, GRAVITY / 2] * t**2
        if not len(played.trajectory.contacts[0].time):
            shapes.add(body.shape)
            np.testing.assert_allclose(played.trajectory.position[0, :, 0], expected, rtol=0, atol=1e-9)
    assert shapes == {"ball", "box", "cylinder", "capsule", "ellipsoid"}


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


def test_a_box_slides_with_friction_and_stops_where_it_must():
    stopped = ramps = 0
    for scene in _scenes("slide", 16):
        played, box = rollout(scene, 101, 100.0), scene.things[0]
        constants = dict(scene.setting.constants)
        angle, friction = constants["angle"], constants["friction"]
        expected = GRAVITY * (math.sin(angle) - friction * math.cos(angle))
        velocity = played.trajectory.velocity[0, :, 0].norm(dim=-1).numpy()
        start = math.hypot(*box.velocity)
        moving = np.flatnonzero((velocity > 0.05) & (np.arange(101) >= 20))
        end = int(moving[-1]) if angle == 0 else 50  # a ramp is long enough for half a second
        if end > 30:
            found = (velocity[end] - velocity[20]) / (end - 20) * 100
            assert found == pytest.approx(expected, rel=0.01)
        ramps += angle > 0
        if angle == 0 and start / -expected < 0.95:
            stopped += 1
            assert _along(played)[-1] == pytest.approx(start**2 / (2 * friction * GRAVITY), rel=0.01)
    assert stopped >= 1 and ramps >= 5


def test_a_ball_rolls_with_five_sevenths():
    for scene in _scenes("roll"):
        played, ball = rollout(scene, 51, 100.0), scene.things[0]
        expected = 5 / 7 * GRAVITY * math.sin(dict(scene.setting.constants)["angle"])
        speed = played.trajectory.velocity[0, :, 0].norm(dim=-1).numpy()
        assert (speed[50] - speed[10]) / 0.4 == pytest.approx(expected, rel=1e-3)
        slip = np.abs(speed - played.trajectory.spin[0, :, 0, 1].abs().numpy() * ball.radius)
        assert (slip[5:] / speed[5:]).max() < 2e-3
        assert _along(played)[-1] == pytest.approx(math.hypot(*ball.velocity) / 2 + expected / 8, rel=2e-3)


def test_a_tumbling_body_keeps_energy_and_angular_momentum_but_not_its_spin():
    shapes, wandering = set(), 0
    for scene in _scenes("tumble", 12):
        played = rollout(scene, 51, 25.0)
        model, body = played.model, object_bodies(played.model)[0]
        data, momentum = mujoco.MjData(model), []
        for state, spin in zip(played.qpos, played.trajectory.spin[0, :, 0].numpy(), strict=True):
            data.qpos[:] = state
            mujoco.mj_kinematics(model, data)
            axes = data.ximat[body].reshape(3, 3)
            momentum.append(axes @ (model.body_inertia[body] * (axes.T @ spin)))
        momentum = np.array(momentum)
        np.testing.assert_allclose(
            momentum,
            np.broadcast_to(momentum[0], momentum.shape),
            rtol=0,
            atol=1e-6 * np.abs(momentum[0]).max(),
        )
        np.testing.assert_allclose(played.energy, played.energy[0], rtol=1e-8)
        spin = played.trajectory.spin[0, :, 0]
        wandering += bool((spin - spin[0]).norm(dim=-1).max() > 0.3 * spin[0].norm())
        shapes.add(scene.things[0].shape)
        assert not len(played.trajectory.contacts[0].time)
    assert shapes == {"box", "cylinder", "capsule", "ellipsoid"} and wandering >= 6


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


@pytest.mark.parametrize("family", ["topple", "dominoes"])
def test_what_falls_makes_no_energy(family):
    for scene in _scenes(family, 6):
        played = rollout(scene, 51, 25.0)
        falls = played.energy[0] - played.energy.min()
        assert falls > 0.03 * played.energy[0] > 0
        assert np.maximum(np.diff(played.energy), 0).sum() < 0.01 * falls


def test_all_dominoes_fall():
    for scene in _scenes("dominoes", 6):
        rotation = rollout(scene, 61, 25.0).trajectory.rotation[0, -1].numpy()
        upright = 1 - 2 * (rotation[:, 1] ** 2 + rotation[:, 2] ** 2)  # z of each one's own z
        assert (upright < math.cos(math.radians(40))).all()


def test_a_stack_that_nothing_hits_stands_and_its_weight_arrives():
    for scene in [scene for scene in _scenes("topple", 10) if scene.things[0].shape == "ball"][:3]:
        rng = np.random.default_rng(0)
        still = rollout(stage("topple", scene.things[1:], scene.setting, rng), 26, 25.0)
        shift = still.trajectory.position[0] - still.trajectory.position[0, :1]
        assert shift[..., :2].abs().max() < 1e-3 and -5e-3 < shift[..., 2].min() < 0
        contacts = still.trajectory.contacts[0]
        floor = contacts.impulse[contacts.bodies.min(dim=1).values < 0].sum().item()
        assert floor == pytest.approx(still.trajectory.mass.sum().item() * GRAVITY, rel=0.01)
        hit = rollout(scene, 26, 25.0)
        assert (hit.trajectory.position[0, -1] - hit.trajectory.position[0, 0])[1:].norm(dim=-1).max() > 0.1


def test_what_passes_behind_the_screen_is_hidden_and_still_there():
    for seed in range(3):
        clip, scene = simulate_clip("occlude", seed), draw_scene("occlude", seed)
        seen = clip.masks[0, :, 0].flatten(1).sum(dim=1)
        hidden = (seen == 0).nonzero().ravel().tolist()
        assert len(hidden) >= 2 and hidden[0] > 0 and hidden[-1] < 15
        assert hidden == list(range(hidden[0], hidden[-1] + 1)) and min(seen[0], seen[-1]) > 20
        assert clip.truth.present.all()
        if scene.attempt == 0:
            x = scene.things[0].position[0] + scene.things[0].velocity[0] * torch.arange(16) / 25
            torch.testing.assert_close(clip.truth.position[0, :, 0, 0], x, rtol=0, atol=1e-5)


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


def test_constants_travel_in_the_mjcf():
    for family in ("slide", "pendulum", "cradle"):
        scene = draw_scene(family, 2)
        model = model_of(scene.spec.to_xml())
        assert model.nnumeric == len(scene.setting.constants) > 0
        for name, value in scene.setting.constants:
            np.testing.assert_allclose(model.numeric(name).data, [value], rtol=1e-5)
    assert model_of(draw_scene("drop", 0).spec.to_xml()).nnumeric == 0


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
