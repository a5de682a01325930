import sys

import numpy as np
import pytest
from PIL import Image

from worldgen.simulation.engine import model_of
from worldgen.simulation.rendering import gl
from worldgen.simulation.rendering.backends import probe_gl
from worldgen.simulation.rendering.film import camera_of
from worldgen.simulation.rendering.lighting import (
    Light,
    hang_background,
    set_light,
)
from worldgen.simulation.rendering.ray_numba import render_numba
from worldgen.simulation.rollout import rollout
from worldgen.simulation.scenes.families import draw_scene


@pytest.fixture(scope="module")
def opengl() -> str:
    name = probe_gl()
    if name is None:
        pytest.skip("no OpenGL through EGL on this machine")
    return name


def staged(light: Light | None = None, pattern=None):
    scene = draw_scene("bounce", 3)
    if light is not None:
        for lamp in list(scene.spec.lights):
            scene.spec.delete(lamp)
        set_light(scene.spec, light)
    if pattern is not None:
        hang_background(scene.spec, pattern)
    model = model_of(scene.spec.to_xml())
    return model, model.qpos0[None], camera_of(model)


def test_opengl_draws_what_the_rays_draw(opengl):
    for family, seed in (("collide", 3), ("bounce", 1)):
        played = rollout(draw_scene(family, seed), frames=6, fps=10.0)
        camera = camera_of(played.model)
        rays, film = (cast(played.model, played.qpos, camera, 128) for cast in (render_numba, gl.render_gl))
        objects = (rays.ids >= 0) | (film.ids >= 0)
        assert (rays.ids == film.ids)[objects].mean() > 0.985  # its spheres are made of flat faces
        error = np.abs(rays.depth - film.depth)
        assert np.median(error) < 1e-3 and np.percentile(error, 99) < 6e-3
        assert np.abs(rays.frames.astype(int) - film.frames).mean() < 12


def test_opengl_lays_textures_as_the_rays_do(opengl, tmp_path):
    tiles = np.array(
        [[[250, 0, 0], [0, 250, 0]], [[0, 0, 250], [250, 250, 0]], [[250] * 3, [0] * 3]], np.uint8
    )
    Image.fromarray(np.kron(tiles, np.ones((16, 16, 1), np.uint8))).save(tmp_path / "tiles.png")
    model = model_of(
        '<mujoco><visual><headlight ambient="1 1 1" diffuse="0 0 0" specular="0 0 0"/></visual><asset>'
        f'<texture name="t" type="2d" file="{tmp_path}/tiles.png"/>'
        '<material name="t" texture="t" texuniform="true" texrepeat="1 .8"/></asset><worldbody>'
        '<camera pos=".3 .2 5" fovy="40"/><geom type="plane" size="0 0 1" material="t"/></worldbody></mujoco>'
    )
    arguments = model, model.qpos0[None], camera_of(model), 128
    rays, film = (cast(*arguments).frames.astype(int) for cast in (render_numba, gl.render_gl))
    assert (np.abs(rays - film) > 60).mean() < 0.02 and rays.std() > 80


def test_a_missing_opengl_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco.egl", None)
    monkeypatch.setattr(gl, "_context", gl._context.__wrapped__)
    sentence = (
        "render_gl needs OpenGL through EGL, which this machine or installation lacks .* unset: rays need"
    )
    with pytest.raises(ValueError, match=sentence):
        gl.render_gl(*staged(), 8)
