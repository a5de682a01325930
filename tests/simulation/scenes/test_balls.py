import numpy as np
import torch

from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.rollout import rollout
from worldgen.simulation.scenes.families import Scene, draw_scene
from worldgen.types import GRAVITY


def _scenes(family: str, count: int = 8) -> list[Scene]:
    return [draw_scene(family, seed) for seed in range(count)]


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
