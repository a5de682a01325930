import math

import numpy as np
import pytest

from worldgen.simulation.engine import mujoco, object_bodies
from worldgen.simulation.rollout import Rollout, rollout
from worldgen.simulation.scenes.families import Scene, draw_scene
from worldgen.simulation.scenes.staging import stage
from worldgen.types import GRAVITY


def _scenes(family: str, count: int = 8) -> list[Scene]:
    return [draw_scene(family, seed) for seed in range(count)]


def _along(played: Rollout, index: int = 0) -> np.ndarray:
    """Signed distance of an object from its start along the line that it leaves it on."""
    way = (played.trajectory.position[0, :, index] - played.trajectory.position[0, 0, index]).numpy()
    return way @ (way[-1] / np.linalg.norm(way[-1]))


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
