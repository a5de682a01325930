import numpy as np
import pytest

from tests.simulation.rendering.stills import STILL
from worldgen.simulation.engine import model_of
from worldgen.simulation.rendering.film import camera_of
from worldgen.simulation.rendering.ray_numba import render_numba
from worldgen.simulation.rendering.ray_numpy import render_multiray
from worldgen.simulation.rollout import rollout
from worldgen.simulation.scenes.families import NANO, draw_scene


@pytest.mark.parametrize("family", NANO)
def test_both_renderers_agree(family):
    played = rollout(draw_scene(family, 5), frames=6, fps=10.0)
    camera = camera_of(played.model)
    fast, plain = (r(played.model, played.qpos, camera, 48) for r in (render_numba, render_multiray))
    _assert_same_film(fast, plain)


def test_both_renderers_agree_on_boxes_and_tilted_views():
    model = model_of(STILL.format(extra=""))
    qpos = np.stack([model.qpos0, model.qpos0 + [0.3, 0, -0.2, 0, 0, 0, 0]])
    camera = camera_of(model)
    fast, plain = (r(model, qpos, camera, 64) for r in (render_numba, render_multiray))
    _assert_same_film(fast, plain)
    assert (fast.depth == 0).any()  # above the horizon there is nothing


def _assert_same_film(fast, plain):
    objects = (fast.ids >= 0) | (plain.ids >= 0)
    assert objects.any() and (fast.ids == plain.ids)[objects].mean() >= 0.99
    assert np.median(np.abs(fast.depth - plain.depth)) < 1e-4
    difference = np.abs(fast.frames.astype(int) - plain.frames.astype(int))
    assert (difference > 1).mean() < 0.002
