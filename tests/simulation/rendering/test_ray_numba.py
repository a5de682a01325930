from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.simulation.rendering.stills import STILL
from worldgen.simulation.engine import model_of, mujoco
from worldgen.simulation.rendering.film import camera_of
from worldgen.simulation.rendering.ray_numba import render_numba
from worldgen.simulation.rendering.ray_numpy import render_multiray
from worldgen.simulation.rendering.render import render

MESH = STILL.format(extra='<body pos="0 0 1"><freejoint/><geom type="mesh" mesh="corner"/></body>').replace(
    "<worldbody>",
    '<asset><mesh name="corner" vertex="0 0 0 .6 0 0 0 .6 0 0 0 .6"/></asset><worldbody>',
)


def test_the_compiled_renderer_names_what_it_cannot_draw():
    model = model_of(MESH)
    with pytest.raises(ValueError, match="cylinders and boxes; got mjGEOM_MESH. Use render_multiray."):
        render_numba(model, model.qpos0[None], camera_of(model), 8)
    film = render(model, model.qpos0[None], camera_of(model), 32)  # falls back by itself
    assert (film.ids == 1).sum() > 10 and isinstance(model, mujoco.MjModel)


KINDS = {
    "capsule": ".3 .4", "ellipsoid": ".6 .3 .45", "cylinder": ".4 .3", "box": ".5 .3 .4", "sphere": ".5",
}  # fmt: skip


@pytest.mark.parametrize("bulb", [0.02, 0.5])
@pytest.mark.parametrize("kind", KINDS)
def test_both_renderers_see_every_shape_alike_in_any_pose(kind, bulb):
    extra = f'<body pos="0 0 .8"><freejoint/><geom type="{kind}" size="{KINDS[kind]}"/></body>'
    model = model_of(STILL.format(extra=extra).replace("<light", f'<light bulbradius="{bulb}"'))
    rng = np.random.default_rng(3)
    qpos = np.tile(model.qpos0, (8, 1))
    qpos[:, 7:10] += rng.uniform(-0.4, 0.4, (8, 3))
    turns = rng.normal(size=(8, 4))
    qpos[:, 10:14] = turns / np.linalg.norm(turns, axis=1, keepdims=True)
    fast, plain = (r(model, qpos, camera_of(model), 48) for r in (render_numba, render_multiray))
    assert (fast.ids == 1).sum() > 300
    assert (fast.ids == plain.ids).mean() > 0.9999
    np.testing.assert_allclose(fast.depth, plain.depth, rtol=0, atol=1e-5)
    difference = np.abs(fast.frames.astype(int) - plain.frames.astype(int))
    assert (difference > 1).mean() < 1e-4


def test_a_shape_seen_end_on_is_as_large_as_it_should_be():
    for kind, size, turn, area in (
        ("cylinder", ".2 .5", "90 0 0", np.pi * 0.04),  # its lid toward the camera
        ("cylinder", ".2 .5", "0 0 0", 0.4 * 1.0),
        ("capsule", ".2 .5", "90 0 0", np.pi * 0.04),
        ("capsule", ".2 .5", "0 0 0", 0.4 * 1.0 + np.pi * 0.04),
        ("ellipsoid", ".2 .3 .5", "0 0 0", np.pi * 0.2 * 0.5),
        ("ellipsoid", ".2 .3 .5", "90 0 0", np.pi * 0.2 * 0.3),
    ):
        model = model_of(
            '<mujoco><worldbody><camera pos="0 -200 0" xyaxes="1 0 0 0 0 1" fovy=".5"/>'
            f'<body euler="{turn}"><freejoint/><geom type="{kind}" size="{size}"/></body>'
            "</worldbody></mujoco>"
        )
        film = render_numba(model, model.qpos0[None], camera_of(model), 128)
        assert (film.ids == -1).all()  # beyond what is drawn
        near = replace(camera_of(model), position=torch.tensor([[0.0, -99.0, 0.0]]), fovy=torch.tensor([1.0]))
        film = render_numba(model, model.qpos0[None], near, 128)
        pixel = 2 * 99 * np.tan(np.deg2rad(0.5)) / 128
        assert (film.ids == 0).sum() * pixel**2 == pytest.approx(area, rel=0.03)
